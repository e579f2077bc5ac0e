//! How a line of the log is written: whatever a client sent, it cannot end the line, colour the terminal or fill the disk.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, IsTerminal},
    sync::{Mutex, PoisonError},
};

use tracing::field::Field;
use tracing_subscriber::{
    EnvFilter,
    field::{MakeExt, RecordFields},
    fmt::{
        FormatFields, MakeWriter,
        format::{Writer, debug_fn},
    },
};

/// Characters of one value. Names of users have 128 at most.
const VALUE_CHARS_MAX: usize = 128;
/// Characters of a message, an error or a list of ours, which quote values now and then.
const MESSAGE_CHARS_MAX: usize = 1024;

/// The last lines, for the console. There is one log in a process, and so one tail.
static TAIL: Mutex<Tail> = Mutex::new(Tail { lines: VecDeque::new(), lines_max: 0, next: 1 });

struct Tail {
    /// With their numbers, which count up.
    lines: VecDeque<(u64, String)>,
    lines_max: usize,
    next: u64,
}

/// Starts logging to stderr, and keeps the last lines.
pub fn start(filter: EnvFilter, lines_max: usize) {
    let ansi = io::stderr().is_terminal();
    TAIL.lock().unwrap_or_else(PoisonError::into_inner).lines_max = lines_max;
    tracing::subscriber::set_global_default(subscriber(filter, || Tee, ansi))
        .expect("nothing else in the program starts a log");
}

/// The lines that are kept and came after this one, each with its number.
pub fn tail(after: u64) -> Vec<(u64, String)> {
    let tail = TAIL.lock().unwrap_or_else(PoisonError::into_inner);
    tail.lines.iter().filter(|(number, _)| *number > after).cloned().collect()
}

/// Writes to stderr and keeps what it wrote. The log gives it whole lines.
struct Tee;

impl io::Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        keep(&mut TAIL.lock().unwrap_or_else(PoisonError::into_inner), bytes);
        io::Write::write_all(&mut io::stderr(), bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::Write::flush(&mut io::stderr())
    }
}

fn keep(tail: &mut Tail, bytes: &[u8]) {
    if tail.lines_max == 0 {
        return;
    }
    for line in String::from_utf8_lossy(bytes).lines() {
        while tail.lines.len() >= tail.lines_max {
            tail.lines.pop_front();
        }
        let number = tail.next;
        tail.next += 1;
        tail.lines.push_back((number, without_colours(line)));
    }
}

/// Without the sequences that colour a terminal, which only the log itself writes.
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or(part, |(_, rest)| rest))
}

fn subscriber<W>(filter: EnvFilter, writer: W, ansi: bool) -> impl tracing::Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(ansi).fmt_fields(fields()).finish()
}

fn fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    Escaped(debug_fn(write_field as fn(&mut Writer<'_>, &Field, &dyn fmt::Debug) -> fmt::Result).delimited(" "))
}

/// Only there to give the type above a name that implements what is wanted of it.
struct Escaped<T>(T);

impl<'w, T: FormatFields<'w>> FormatFields<'w> for Escaped<T> {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        self.0.format_fields(writer, fields)
    }
}

fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let chars_max = match field.name() {
        "message" => MESSAGE_CHARS_MAX,
        "error" | "addresses" => {
            write!(writer, "{field}=")?;
            MESSAGE_CHARS_MAX
        }
        // What the `log` crate's records carry besides: the place in the source.
        name if name.starts_with("log.") => return Ok(()),
        _ => {
            write!(writer, "{field}=")?;
            VALUE_CHARS_MAX
        }
    };
    let text = format!("{value:?}");
    let mut chars = text.chars();
    for c in chars.by_ref().take(chars_max) {
        match c.is_control() || is_direction(c) {
            true => write!(writer, "{}", c.escape_unicode())?,
            false => writer.write_char(c)?,
        }
    }
    if chars.next().is_some() { writer.write_str("…") } else { Ok(()) }
}

/// Characters that end a line or turn its direction for those who read it, and are no control characters by name.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::info;

    use super::*;

    #[test]
    fn the_last_lines_are_kept_without_colours_and_no_more() {
        let mut tail = Tail { lines: VecDeque::new(), lines_max: 3, next: 1 };
        for n in 0..5 {
            keep(&mut tail, format!("\u{1b}[2m12:00\u{1b}[0m line {n}\n").as_bytes());
        }
        let kept: Vec<_> = tail.lines.iter().map(|(number, text)| (*number, text.as_str())).collect();
        assert_eq!(kept, [(3, "12:00 line 2"), (4, "12:00 line 3"), (5, "12:00 line 4")]);
    }

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_client_sent_cannot_leave_its_place_in_the_line() {
        let page = Page::default();
        let writer = page.clone();
        let subscriber = subscriber(EnvFilter::new("info"), move || writer.clone(), false);
        let evil = "a\r\nFORGED line\u{1b}[31m\u{9b}31m\u{202e}\u{2028}\0";
        let long = "x".repeat(8 << 10);
        tracing::subscriber::with_default(subscriber, || {
            info!(user = %evil, room = ?evil, count = 5, "member {evil} entered");
            info!(user = %long, "{long}");
        });
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text:?}");
        assert!(text.chars().all(|c| c == '\n' || !(c.is_control() || is_direction(c))), "{text:?}");
        assert!(text.contains("count=5") && text.contains("FORGED line\\u{1b}[31m"), "{text}");
        let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
        println!("U25 8 KiB in a log: a line of {longest} characters, a value of {VALUE_CHARS_MAX} at most");
        assert!(longest < VALUE_CHARS_MAX + MESSAGE_CHARS_MAX + 100, "{longest}");
        assert!(text.contains(&format!("user={}…", "x".repeat(VALUE_CHARS_MAX))), "{text}");
    }
}
