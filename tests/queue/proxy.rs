//! A load balancer as small as can be: each connection goes to the first server that answers.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Passes bytes between clients and servers until it is dropped.
pub(super) struct Proxy {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on a free port of loopback.
    pub(super) fn new(servers: Vec<String>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            for client in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let server = servers.iter().find_map(|server| TcpStream::connect(server).ok());
                // Without a server the connection is closed, which a client sees as a failure.
                if let (Ok(client), Some(server)) = (client, server) {
                    join(&client, &server);
                }
            }
        });
        Self { address, is_over, thread: Some(thread) }
    }

    /// Returns the reference that `--registry` takes.
    pub(super) fn reference(&self, repository: &str) -> String {
        format!("docker://{}/{repository}", self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread, which only looks when somebody connects.
        TcpStream::connect(self.address).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Copies both ways in threads that end with their connections.
fn join(client: &TcpStream, server: &TcpStream) {
    for (from, to) in [(client, server), (server, client)] {
        let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
        std::thread::spawn(move || {
            io::copy(&mut from, &mut to).ok();
            from.shutdown(Shutdown::Both).ok();
            to.shutdown(Shutdown::Both).ok();
        });
    }
}
