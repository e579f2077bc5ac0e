//! How a line of the log is written: whatever a client sent, it cannot end the line, colour the terminal or fill the disk.

use std::{
    fmt,
    io::{self, IsTerminal},
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

/// Starts logging to stderr.
pub fn start(filter: EnvFilter) {
    let ansi = io::stderr().is_terminal();
    tracing::subscriber::set_global_default(subscriber(filter, io::stderr, ansi))
        .expect("nothing else in the program starts a log");
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
