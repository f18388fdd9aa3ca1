//! HTTP/1.1 by hand: it can send what no server library would.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

/// Longest request head; ours are below 2 KiB.
const HEAD_LINES_MAX: usize = 100;

/// One request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path without the query.
    pub(crate) path: String,
    /// The query's parameters, decoded as far as tags and digests need it.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Reads the next request of a connection; `None` when the client has closed it.
    pub(crate) fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let (method, target) = match (words.next(), words.next()) {
            (Some(method), Some(target)) => (method.to_owned(), target.to_owned()),
            _ => return Ok(None),
        };
        let mut headers = Vec::new();
        for _ in 0..HEAD_LINES_MAX {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 || line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let query = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.replace("%3A", ":")))
            .collect();
        let mut request = Self { method, path: path.to_owned(), query, headers, body: Vec::new() };
        let len = request.header("content-length").map_or(0, |len| len.parse().unwrap_or(0));
        request.body = vec![0; len];
        stream.read_exact(&mut request.body)?;
        Ok(Some(request))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the last component of the path: a tag, a digest.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// One answer, before faults.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// An error in the form of the distribution specification.
    pub(crate) fn error(status: u16, code: &str) -> Self {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"no"}}]}}"#);
        Self::new(status).with("Content-Type", "application/json").body(body)
    }

    pub(crate) fn json(body: &serde_json::Value) -> Self {
        Self::new(200).with("Content-Type", "application/json").body(body.to_string())
    }

    /// What a captive portal answers to anything.
    pub(crate) fn html() -> Self {
        let page = "<!DOCTYPE html><html><title>Sign in</title>Please sign in.</html>";
        Self::new(200).with("Content-Type", "text/html; charset=utf-8").body(page)
    }

    /// Sets a header; an earlier one of the same name goes.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Writes the head; `len` is what it claims about the body, `None` = chunked.
    pub(crate) fn write_head(&self, stream: &mut TcpStream, len: Option<u64>) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {} -\r\n", self.status);
        // Writing to a String cannot fail.
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").ok();
        }
        match len {
            Some(len) => write!(head, "Content-Length: {len}\r\n\r\n").ok(),
            None => write!(head, "Transfer-Encoding: chunked\r\n\r\n").ok(),
        };
        stream.write_all(head.as_bytes())
    }

    /// Writes everything as an honest server would; a HEAD request gets no body.
    pub(crate) fn write(&self, stream: &mut TcpStream, is_head: bool) -> io::Result<()> {
        self.write_head(stream, Some(self.body.len() as u64))?;
        if !is_head {
            stream.write_all(&self.body)?;
        }
        Ok(())
    }
}
