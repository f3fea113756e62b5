//! `cargo xtask bench --growth`: what a cost does when one number grows, as tables and plots.
//!
//! Owns: the sweeps, the plots in `host/docs/growth/` and the tables of `host/docs/growth.md` between its markers.

use crate::peers::{Kind, Peer};
use crate::play::{Play, Run};
use crate::plot::{self, Series};
use crate::splice;
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::path::Path;

const DOCUMENT: &str = "host/docs/growth.md";
const PLOTS: &str = "host/docs/growth";

/// One number that grows.
struct Sweep {
    /// Of the file, and for the progress.
    name: &'static str,
    title: &'static str,
    axis: &'static str,
    /// `{x}` is the number.
    words: &'static str,
    /// Where the number stands, if not in `words`.
    setting: Option<Setting>,
    numbers: &'static [u32],
    /// What is plotted, and what stands in the table besides: title and field.
    figures: &'static [(&'static str, &'static str)],
    /// Whether other brokers are measured with it.
    has_others: bool,
}

/// Something of WitMQ's that is set to the number.
#[derive(Clone, Copy)]
enum Setting {
    /// A key of its configuration.
    Key(&'static str),
    /// So many chains; one of them names the topics if so wanted.
    Chains { with_one: bool },
}

impl Setting {
    fn apply(self, peer: &mut Peer, number: u32) {
        match self {
            Self::Key(key) => peer.config = format!("{key} = {number}\n{}", peer.config),
            Self::Chains { with_one } => {
                for at in 0..number {
                    let from = match with_one && at == 0 {
                        true => "+/+/device/temperature".to_owned(),
                        false => format!("elsewhere/{at}/#"),
                    };
                    let chain = format!(
                        "mode = \"transform\"\nfrom = \"{from}\"\n\n[[step]]\nfilter = \"topic.name != ''\"\n"
                    );
                    peer.files.push((format!("chains/c{at}.toml"), chain));
                }
                if number > 0 {
                    peer.prepare
                        .push(peer.command_of(&["rule", "apply", "{folder}/chains"]));
                }
            }
        }
    }
}

const CPU: (&str, &str) = ("CPU µs for a delivered message", "cpu_us_per_msg");
const RATE: (&str, &str) = ("messages/s", "msg_per_s");

const SWEEPS: &[Sweep] = &[
    Sweep {
        name: "connections",
        title: "Memory of an idle connection, bytes",
        axis: "connections",
        words: "conns --n {x}",
        setting: None,
        numbers: &[1_000, 2_000, 5_000, 10_000],
        figures: &[
            ("bytes for a connection", "rss_bytes_per_conn"),
            ("CPU µs for a connect", "cpu_us_per_connect"),
        ],
        has_others: true,
    },
    Sweep {
        name: "subscriptions",
        title: "A publish that matches one subscription, CPU µs",
        axis: "subscriptions",
        words: "subs --n {x}",
        setting: None,
        numbers: &[1_000, 10_000, 100_000, 1_000_000],
        figures: &[
            CPU,
            ("CPU µs for a subscribe", "cpu_us_per_subscribe"),
            ("bytes for a subscription", "rss_bytes_per_sub"),
        ],
        has_others: true,
    },
    Sweep {
        name: "payload",
        title: "50 pairs, QoS 0, W8: CPU µs for a message",
        axis: "bytes of payload",
        words: "pair --pubs 50 --window 8 --payload {x}",
        setting: None,
        numbers: &[16, 64, 256, 1_024, 4_096, 16_384],
        figures: &[CPU, RATE],
        has_others: true,
    },
    Sweep {
        name: "fan-out",
        title: "One publisher, 16 B, W16: CPU µs for a delivered message",
        axis: "subscribers",
        words: "fanout --payload 16 --window 16 --subs {x}",
        setting: None,
        numbers: &[1, 10, 100, 1_000],
        figures: &[CPU, RATE],
        has_others: true,
    },
    Sweep {
        name: "shards",
        title: "50 pairs, QoS 1, 16 B, W16: CPU µs for a message",
        axis: "shards (on two cores, with the generator)",
        words: "pair --pubs 50 --payload 16 --qos 1 --window 16",
        setting: Some(Setting::Key("shards")),
        numbers: &[1, 2, 4],
        figures: &[CPU, RATE],
        has_others: false,
    },
    Sweep {
        name: "retained",
        title: "Retained messages: CPU µs to retrieve one by #",
        axis: "retained messages",
        words: "retained --n {x}",
        setting: None,
        numbers: &[10_000, 100_000, 1_000_000],
        figures: &[
            CPU,
            ("CPU µs to store one", "cpu_us_per_store"),
            ("bytes each", "rss_bytes_per_retained"),
        ],
        has_others: true,
    },
    Sweep {
        name: "chains",
        title: "50 pairs, QoS 0, 256 B, W64, one chain for their topics: CPU µs for a message",
        axis: "chains (the others are for other topics)",
        words: "pair --pubs 50 --payload 256 --window 64",
        setting: Some(Setting::Chains { with_one: true }),
        numbers: &[1, 10, 100, 1_000],
        figures: &[CPU, RATE],
        has_others: false,
    },
    Sweep {
        name: "chains-elsewhere",
        title: "50 pairs, QoS 0, 256 B, W64, no chain for their topics: CPU µs for a message",
        axis: "chains, all for other topics",
        words: "pair --pubs 50 --payload 256 --window 64",
        setting: Some(Setting::Chains { with_one: false }),
        numbers: &[1, 10, 100, 1_000],
        figures: &[CPU, RATE],
        has_others: false,
    },
];

/// All sweeps, all participants at one number before the next number, everything before the next round.
///
/// # Errors
/// When a participant cannot be started, or a file not be written.
pub(crate) fn measure(play: &mut Play, peers: &[Peer], rounds: usize) -> Result<bool> {
    let mut text = String::new();
    let mut is_whole = true;
    std::fs::create_dir_all(PLOTS).with_context(|| format!("cannot make {PLOTS}"))?;
    for sweep in SWEEPS {
        let takes_part = |peer: &&Peer| match peer.kind {
            Kind::Own => true,
            Kind::Other => sweep.has_others,
            Kind::Single | Kind::Floor => false,
        };
        let peers: Vec<&Peer> = peers.iter().filter(takes_part).collect();
        let runs = runs(play, sweep, &peers, rounds)?;
        is_whole &= runs
            .iter()
            .all(|(_, run)| !run.peer.starts_with("WitMQ") || run.failure().is_none());
        let series: Vec<Series> = peers
            .iter()
            .map(|peer| series(sweep, peer, &runs, 0))
            .collect();
        let file = Path::new(PLOTS).join(sweep.name).with_extension("svg");
        std::fs::write(&file, plot::draw(sweep.title, sweep.axis, &series))
            .with_context(|| format!("cannot write {}", file.display()))?;
        text.push_str(&section(sweep, &peers, &runs));
    }
    let head = format!(
        "{}. {rounds} interleaved round{}, a fresh process for each run: medians.\n\n",
        crate::table::machine(),
        if rounds == 1 { "" } else { "s" }
    );
    splice::replace(Path::new(DOCUMENT), &(head + &text))?;
    println!("written: {DOCUMENT} and the plots in {PLOTS}");
    Ok(is_whole)
}

fn runs(play: &mut Play, sweep: &Sweep, peers: &[&Peer], rounds: usize) -> Result<Vec<(u32, Run)>> {
    let mut runs = Vec::new();
    for round in 1..=rounds {
        for number in sweep.numbers {
            let words = sweep.words.replace("{x}", &number.to_string());
            for peer in peers {
                let mut peer = (*peer).clone();
                if let Some(setting) = sweep.setting {
                    setting.apply(&mut peer, *number);
                }
                let run = play.play(&peer, sweep.name, &words, round)?;
                let value = sweep
                    .figures
                    .first()
                    .and_then(|(_, field)| run.number(field));
                let value = value.map_or_else(|| "nothing".to_owned(), plot::short);
                let failure = run.failure().map(|failure| format!(", {failure}"));
                println!(
                    "round {round}, {} {number} · {}: {value}{}",
                    sweep.name,
                    peer.name,
                    failure.unwrap_or_default()
                );
                runs.push((*number, run));
            }
        }
    }
    Ok(runs)
}

/// Medians of one figure of one participant.
fn series(sweep: &Sweep, peer: &Peer, runs: &[(u32, Run)], figure: usize) -> Series {
    let field = sweep.figures.get(figure).map_or("", |(_, field)| field);
    let points = sweep.numbers.iter().filter_map(|number| {
        let of_it = runs
            .iter()
            .filter(|(at, run)| at == number && run.peer == peer.name);
        let mut values: Vec<f64> = of_it.filter_map(|(_, run)| run.number(field)).collect();
        values.sort_by(f64::total_cmp);
        let median = values.get(values.len() / 2)?;
        Some((f64::from(*number), *median))
    });
    Series {
        name: peer.name.clone(),
        points: points.collect(),
    }
}

fn section(sweep: &Sweep, peers: &[&Peer], runs: &[(u32, Run)]) -> String {
    let mut text = format!(
        "### {}\n\n`mqload {}`\n\n![{}](growth/{}.svg)\n\n| {} |",
        sweep.title, sweep.words, sweep.title, sweep.name, sweep.axis
    );
    let mut columns = Vec::new();
    for (figure, (title, _)) in sweep.figures.iter().enumerate() {
        for peer in peers {
            // Writing to a text cannot fail.
            write!(text, " {}: {title} |", peer.name).ok();
            columns.push(series(sweep, peer, runs, figure));
        }
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(columns.len()));
    text.push('\n');
    for number in sweep.numbers {
        write!(text, "| {} |", plot::short(f64::from(*number))).ok();
        for column in &columns {
            let at = |point: &&(f64, f64)| point.0 == f64::from(*number);
            let value = column
                .points
                .iter()
                .find(at)
                .map(|point| plot::short(point.1));
            write!(text, " {} |", value.unwrap_or_else(|| "–".to_owned())).ok();
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::{SWEEPS, section, series};
    use crate::peers::{Kind, Peer};
    use crate::play::Run;
    use serde_json::json;

    #[test]
    fn a_table_has_medians_and_a_dash_where_nothing_came() {
        let peer = Peer {
            name: "WitMQ".to_owned(),
            kind: Kind::Own,
            command: Vec::new(),
            config: String::new(),
            files: Vec::new(),
            prepare: Vec::new(),
            port: None,
        };
        let run = |value: f64| Run {
            case: "fan-out".to_owned(),
            peer: "WitMQ".to_owned(),
            values: json!({ "cpu_us_per_msg": value, "msg_per_s": 20_000.0 })
                .as_object()
                .unwrap()
                .clone(),
        };
        let sweep = SWEEPS.iter().find(|sweep| sweep.name == "fan-out").unwrap();
        let runs = [(1, run(3.0)), (1, run(1.0)), (1, run(2.0)), (10, run(0.5))];
        assert_eq!(
            series(sweep, &peer, &runs, 0).points,
            [(1.0, 2.0), (10.0, 0.5)]
        );
        let text = section(sweep, &[&peer], &runs);
        assert!(
            text.contains("| 1 | 2 | 20k |\n| 10 | 0.5 | 20k |\n| 100 | – | – |"),
            "{text}"
        );
        assert!(text.contains("](growth/fan-out.svg)"));
    }

    #[test]
    fn the_number_is_in_the_words_or_a_setting_and_plots_have_names_of_their_own() {
        let mut names: Vec<_> = SWEEPS.iter().map(|sweep| sweep.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SWEEPS.len());
        for sweep in SWEEPS {
            assert_eq!(
                sweep.words.contains("{x}"),
                sweep.setting.is_none(),
                "{}",
                sweep.name
            );
        }
    }
}
