//! Two servers in turn, under the same load, several times: ratios that a busy machine does not spoil.

use std::{collections::HashMap, time::Duration};

use serde::Serialize;

use super::{
    LoadError,
    cli::{SETTLE_S, VersusArgs},
    crowd::Plan,
    play::{Stream, measure},
    publish::Goal,
    report::{Report, print},
};

/// Between two runs: the server before has to let its clients go.
const PAUSE: Duration = Duration::from_secs(2);
/// What a target may say of itself.
const WORDS: [&str; 9] =
    ["name", "whep", "rtmp", "flv", "token", "publish-whip", "publish-rtmp", "publish-token", "pid"];

/// One of the two, as the command line describes it.
#[derive(Clone, Debug, Default)]
struct Target {
    words: HashMap<String, String>,
}

/// Median and single values of one figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub name: &'static str,
    /// Medians over the rounds; `null` where the figure was not known.
    pub a: Option<f64>,
    pub b: Option<f64>,
    /// `b / a`: above 1, a needs less.
    pub ratio: Option<f64>,
    pub a_rounds: Vec<Option<f64>>,
    pub b_rounds: Vec<Option<f64>>,
}

#[derive(Debug, Serialize)]
pub struct Versus {
    a: String,
    b: String,
    rounds: u32,
    viewers: u32,
    seconds: u64,
    figures: Vec<Figure>,
}

/// Compares, and prints. True if every client of every run came in and stayed.
pub async fn run(args: VersusArgs) -> Result<bool, LoadError> {
    let (versus, complete) = measure_both(&args).await?;
    let mut rows = vec![("median of", format!("{:>14} {:>14} {:>8}", versus.a, versus.b, "b / a"))];
    for figure in &versus.figures {
        let show = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        rows.push((figure.name, format!("{:>14} {:>14} {:>8}", show(figure.a), show(figure.b), show(figure.ratio))));
    }
    print(args.json, &versus, &rows);
    Ok(complete)
}

/// Compares. The figures, and whether every client of every run came in and stayed.
pub async fn measure_both(args: &VersusArgs) -> Result<(Versus, bool), LoadError> {
    let (a, b) = (Target::read("a", &args.a)?, Target::read("b", &args.b)?);
    let (mut reports_a, mut reports_b) = (Vec::new(), Vec::new());
    let mut complete = true;
    for round in 0..args.rounds {
        // Turn about, so that neither always comes second.
        let order = if round % 2 == 0 { [true, false] } else { [false, true] };
        for is_a in order {
            let target = if is_a { &a } else { &b };
            eprintln!("round {} of {}: {}", round + 1, args.rounds, target.name());
            let (report, all) = target.run(args).await?;
            complete &= all;
            if is_a { &mut reports_a } else { &mut reports_b }.push(report);
            tokio::time::sleep(PAUSE).await;
        }
    }
    let versus = Versus {
        a: a.name().to_owned(),
        b: b.name().to_owned(),
        rounds: args.rounds,
        viewers: args.viewers,
        seconds: args.seconds,
        figures: figures(&reports_a, &reports_b),
    };
    Ok((versus, complete))
}

impl Target {
    /// `key=value` words with spaces between.
    fn read(which: &'static str, text: &str) -> Result<Target, LoadError> {
        let mut words = HashMap::from([("name".to_owned(), which.to_owned())]);
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some((name, value)) if WORDS.contains(&name) => words.insert(name.to_owned(), value.to_owned()),
                _ => {
                    let known = WORDS.join(", ");
                    return Err(LoadError::new(format!(
                        "--{which}: `{word}` is not name=value; the names are {known}"
                    )));
                }
            };
        }
        let target = Target { words };
        Stream::new(target.get("whep"), target.get("rtmp"), target.get("flv"))
            .map_err(|LoadError(reason)| LoadError::new(format!("--{which}: {reason}")))?;
        Ok(target)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.words.get(name).map(String::as_str)
    }

    fn name(&self) -> &str {
        self.get("name").unwrap_or_default()
    }

    async fn run(&self, args: &VersusArgs) -> Result<(Report, bool), LoadError> {
        let bad_pid = |_| LoadError::new(format!("{}: pid is a number", self.name()));
        let plan = Plan {
            clients: args.viewers as usize,
            joins_per_second: args.joins_per_second,
            seconds: args.seconds,
            churn: None,
            storm: None,
            pid: self.get("pid").map(str::parse).transpose().map_err(bad_pid)?,
            settle: Duration::from_secs(SETTLE_S),
        };
        let stream = Stream::new(self.get("whep"), self.get("rtmp"), self.get("flv"))?;
        let token = self.get("publish-token").map(str::to_owned);
        let goal = Goal::new(self.get("publish-whip"), self.get("publish-rtmp"), token)?;
        let token = self.get("token").map(str::to_owned);
        measure(&plan, stream, token, goal, &args.pool, &args.media).await
    }
}

fn figures(a: &[Report], b: &[Report]) -> Vec<Figure> {
    type Read = fn(&Report) -> Option<f64>;
    let reads: [(&'static str, Read); 10] = [
        ("server_cpu_us_per_packet", |r| r.server_cpu_us_per_packet),
        ("server_cpu_percent", |r| r.server_cpu_percent),
        ("rss_per_viewer_kb", |r| r.rss_per_viewer_kb),
        ("packets_per_second", |r| Some(r.packets_per_second)),
        ("lost", |r| r.lost.map(|lost| lost as f64)),
        ("join_ms_p50", |r| r.join_ms_p50),
        ("join_ms_p99", |r| r.join_ms_p99),
        ("first_frame_ms_p95", |r| r.first_frame_ms_p95),
        ("delay_ms_p50", |r| r.delay_ms_p50),
        ("delay_ms_p99", |r| r.delay_ms_p99),
    ];
    let figure = |(name, read): (&'static str, Read)| {
        let (a_rounds, b_rounds): (Vec<_>, Vec<_>) = (a.iter().map(read).collect(), b.iter().map(read).collect());
        let (a, b) = (median(&a_rounds), median(&b_rounds));
        let ratio = a.zip(b).filter(|(a, _)| *a != 0.0).map(|(a, b)| b / a);
        Figure { name, a, b, ratio, a_rounds, b_rounds }
    };
    reads.into_iter().map(figure).collect()
}

fn median(values: &[Option<f64>]) -> Option<f64> {
    let mut known: Vec<f64> = values.iter().flatten().copied().collect();
    known.sort_by(f64::total_cmp);
    let middle = known.len() / 2;
    match (known.len() % 2, middle.checked_sub(1).and_then(|below| known.get(below)), known.get(middle)) {
        (0, Some(below), Some(above)) => Some((below + above) / 2.0),
        (_, _, middle) => middle.copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_leave_out_what_is_not_known() {
        assert_eq!(median(&[Some(3.0), None, Some(1.0), Some(2.0)]), Some(2.0));
        assert_eq!(median(&[Some(3.0), Some(1.0)]), Some(2.0));
        assert_eq!(median(&[None]), None);
    }

    #[test]
    fn a_ratio_says_how_much_more_b_needs() {
        let report = |us| Report { server_cpu_us_per_packet: Some(us), ..Report::default() };
        let figures = figures(&[report(1.0), report(9.0), report(2.0)], &[report(5.0)]);
        assert_eq!((figures[0].name, figures[0].ratio), ("server_cpu_us_per_packet", Some(2.5)));
        assert_eq!((figures[2].a, figures[2].ratio), (None, None));
    }

    #[test]
    fn a_target_is_words_that_are_known() {
        let target = Target::read("a", "name=one whep=http://h/whep/1?a=b pid=7").unwrap();
        assert_eq!(
            (target.name(), target.get("whep"), target.get("pid")),
            ("one", Some("http://h/whep/1?a=b"), Some("7"))
        );
        assert!(Target::read("a", "whap=http://h").unwrap_err().to_string().contains("--a"));
        assert!(Target::read("b", "name=x").unwrap_err().to_string().contains("--b"));
    }
}
