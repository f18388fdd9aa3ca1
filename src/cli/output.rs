//! The only printer: people read lines, programs read one JSON object per line.
//!
//! Every line for people passes [`Untrusted`], so text from a registry or a peer can neither move
//! a cursor nor start a line of its own. A reader that has gone (`| head`) is not an error.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

use super::env;
use super::failure::Failure;
use crate::protocol::ErrorClass;
use crate::sys::Untrusted;
use crate::sys::untrusted::is_deceptive;

/// Something that a verb shows.
pub(crate) trait Show: Serialize {
    /// Returns the lines for people; the printer escapes them.
    fn lines(&self) -> Vec<String>;
}

/// Where and how the program prints.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    color: bool,
    progress: bool,
    /// The state of standard output: once it failed, nothing else is written.
    stdout: Cell<Stdout>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stdout {
    Open,
    ReaderGone,
    Failed(io::ErrorKind),
}

impl Output {
    /// Inspects the terminal and the environment.
    pub(crate) fn new(json: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        Self {
            json,
            color: terminal && !json && !env::no_color(),
            progress: terminal && !json,
            stdout: Cell::new(Stdout::Open),
        }
    }

    /// Returns whether programs read the output.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Shows a result.
    pub(crate) fn show(&self, value: &impl Show) {
        if self.json {
            self.write(&format!("{}\n", json_line(value)));
            return;
        }
        for line in value.lines() {
            self.write(&format!("{}\n", Untrusted(&line)));
        }
    }

    /// Writes a document of ours (a card, a script, a manual page) unchanged.
    pub(crate) fn document(&self, text: &str) {
        self.write(text);
    }

    /// Reports what else happened, to people but not to programs.
    pub(crate) fn note(&self, text: &str) {
        if !self.json {
            self.write_error(&format!("{}\n", Untrusted(text)));
        }
    }

    /// Asks a question on standard error, without a newline.
    pub(crate) fn ask(&self, question: &str) {
        self.write_error(&format!("{} ", Untrusted(question)));
    }

    /// Shows why something failed: `error`, `cause`, `hint`.
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.json {
            self.write_error(&format!("{}\n", json_line(failure)));
            return;
        }
        self.write_error(&failure_text(failure, self.color));
    }

    /// Starts a progress bar on a terminal; elsewhere it shows nothing.
    pub(crate) fn progress(&self, label: &str, total: Option<u64>) -> ProgressBar {
        if !self.progress {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = match total {
            Some(_) => "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{msg} {spinner} {bytes} {bytes_per_sec}",
        };
        let style = ProgressStyle::with_template(template).expect("a constant template is valid");
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(Untrusted(label).to_string());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    /// Flushes, and reports whether all output was written or its reader has gone.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        if self.stdout.get() == Stdout::Open {
            self.record(io::stdout().flush());
        }
        match self.stdout.get() {
            Stdout::Open | Stdout::ReaderGone => Ok(()),
            Stdout::Failed(kind) => {
                Err(Failure::io("cannot write to standard output", &kind.into()))
            }
        }
    }

    fn write(&self, text: &str) {
        if self.stdout.get() == Stdout::Open {
            self.record(io::stdout().write_all(text.as_bytes()));
        }
    }

    fn record(&self, result: io::Result<()>) {
        match result {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.stdout.set(Stdout::ReaderGone);
            }
            Err(error) => self.stdout.set(Stdout::Failed(error.kind())),
        }
    }

    #[expect(clippy::unused_self, reason = "all output passes through the printer")]
    fn write_error(&self, text: &str) {
        // There is nowhere left to report that standard error is gone.
        io::stderr().write_all(text.as_bytes()).ok();
    }
}

/// Most cells of a terminal that a name takes in a column.
const NAME_CELLS_MAX: usize = 40;

/// Returns a file's name for a column: cut in its middle on a terminal, whole otherwise.
pub(crate) fn fit(name: &str) -> String {
    if io::stdout().is_terminal() { cut(name) } else { name.to_owned() }
}

/// The end stays, since it shows the kind of file.
fn cut(name: &str) -> String {
    const ELLIPSIS: &str = "...";
    const END_CELLS: usize = 12;
    let shown = Untrusted(name).to_string();
    if shown.width() <= NAME_CELLS_MAX {
        return name.to_owned();
    }
    let letters: Vec<&str> = shown.graphemes(true).collect();
    let start = fitting(letters.iter(), NAME_CELLS_MAX - END_CELLS - ELLIPSIS.len());
    let end = fitting(letters.iter().rev(), END_CELLS);
    let (start, rest) = letters.split_at(start);
    let (_, end) = rest.split_at(rest.len().saturating_sub(end));
    [&start.concat(), ELLIPSIS, &end.concat()].concat()
}

/// Returns how many of the first letters fit into `cells`.
fn fitting<'a>(letters: impl Iterator<Item = &'a &'a str>, cells: usize) -> usize {
    letters
        .scan(0, |taken, letter| {
            *taken += letter.width();
            Some(*taken)
        })
        .take_while(|taken| *taken <= cells)
        .count()
}

/// Returns a length in bytes for people: some digits and a unit; `--json` is exact.
pub(crate) fn size(bytes: u64) -> String {
    BinaryBytes(bytes).to_string().replace(' ', "")
}

/// Lays out rows as columns of equal width, two spaces apart.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let escaped: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| Untrusted(cell).to_string()).collect())
        .collect();
    let columns = escaped.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        escaped.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    escaped
        .iter()
        .map(|row| {
            let cells = row.iter().zip(&widths);
            let line: Vec<String> = cells.map(|(cell, width)| padded(cell, *width)).collect();
            line.join("  ").trim_end().to_owned()
        })
        .collect()
}

/// Fills a cell up to `width`, which `format!` would count in characters.
fn padded(cell: &str, width: usize) -> String {
    format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width())))
}

fn failure_text(failure: &Failure, color: bool) -> String {
    let (red, bold, plain) =
        if color { ("\u{1b}[1;31m", "\u{1b}[1m", "\u{1b}[0m") } else { ("", "", "") };
    let mut lines = vec![format!("{red}error:{plain} {}\n", Untrusted(&failure.error))];
    let cause = |cause: &String| format!("  {bold}cause:{plain} {}\n", Untrusted(cause));
    lines.extend(failure.causes.iter().map(cause));
    let hint = |hint: &String| format!("  {bold}hint:{plain} {}\n", Untrusted(hint));
    lines.extend(failure.hint.iter().map(hint));
    lines.concat()
}

/// Encodes one line of JSON in which deceptive characters are `\u` escapes.
fn json_line(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).unwrap_or_else(|error| {
        let failure = Failure::of(ErrorClass::Internal, &error, None);
        format!("{{\"error\":\"{}\"}}", failure.error.escape_default())
    });
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        // Outside of strings JSON is ASCII, so an escape never appears elsewhere.
        if is_deceptive(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                write!(line, "\\u{unit:04x}").ok();
            }
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_three_kinds_of_lines() {
        let failure = Failure::new(ErrorClass::NotFound, "no such message")
            .about("message 7f3c was not found")
            .hint("run `dockercomms ls`");

        assert_eq!(
            failure_text(&failure, false),
            "error: message 7f3c was not found\n  cause: no such message\n  hint: run `dockercomms ls`\n"
        );
    }

    #[test]
    fn a_length_is_short_and_one_word() {
        let shown = [0, 1023, 31_612_416, 5 << 30, u64::MAX].map(size);

        assert_eq!(shown, ["0B", "1023B", "30.15MiB", "5.00GiB", "16.00EiB"]);
    }

    #[test]
    fn text_from_outside_cannot_write_lines_or_escapes_of_its_own() {
        let failure = Failure::new(ErrorClass::Malformed, "\u{1b}[2Jok\nerror: all is well");

        let shown = failure_text(&failure, false);

        assert_eq!(shown, "error: %1B[2Jok%0Aerror: all is well\n");
    }

    #[test]
    fn json_keeps_deceptive_characters_as_escapes_that_decode_to_themselves() {
        let name = "exe\u{202e}fdp\u{1b}\u{e0041}\u{e9}";

        let line = json_line(&name);

        assert!(!line.chars().any(is_deceptive), "{line}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), name);
    }

    #[test]
    fn a_long_name_is_cut_in_its_middle_and_a_short_one_is_not() {
        let long = format!("{}-end.pdf", "\u{e9}\n".repeat(120));

        let shown = cut(&long);

        assert_eq!(shown.width(), NAME_CELLS_MAX);
        assert!(shown.contains("...") && shown.ends_with("-end.pdf"), "{shown}");
        assert!(!shown.contains('\n'), "{shown}");
        assert_eq!(cut("report.pdf"), "report.pdf");
    }

    #[test]
    fn columns_line_up_even_beside_escaped_text() {
        let rows = [
            vec!["a\nb".to_owned(), "x".to_owned()],
            vec!["longer name".to_owned(), "y".to_owned()],
        ];

        assert_eq!(table(&rows), ["a%0Ab        x", "longer name  y"]);
    }

    #[test]
    fn columns_line_up_beside_wide_letters_and_joiners() {
        let names = ["\u{65e5}\u{672c}", "\u{6cc}\u{200c}\u{62e}", "e\u{301}", "four"];
        let rows = names.map(|name| vec![name.to_owned(), "x".to_owned()]);

        for line in table(&rows) {
            assert_eq!(line.width(), "four  x".len(), "{line}");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_letters_as_people_see_them() {
        let family = "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}";

        let shown = cut(&family.repeat(30));

        assert_eq!(shown.replace(family, ""), "...");
        assert!(shown.width() <= NAME_CELLS_MAX && shown.width() > NAME_CELLS_MAX - 4, "{shown}");
    }
}
