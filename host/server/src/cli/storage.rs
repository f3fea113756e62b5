//! `witmq storage …`: a look at the files of a broker that does not run.

use super::args::StorageCommand;
use super::{CliError, Exit, print, table};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use witmq_broker::shard::ClockBase;
use witmq_storage::{OpenError, Report};

pub(crate) fn run(command: StorageCommand) -> Result<(), CliError> {
    let StorageCommand::Check { data_dir } = command;
    let dir = data_dir.join("storage");
    if !dir.is_dir() {
        let message = format!("there is no storage in {}", data_dir.display());
        return Err(CliError::new(Exit::NotFound, message)
            .hint("name the data folder: witmq storage check DATA_DIR"));
    }
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = u64::try_from(since_1970.unwrap_or_default().as_millis()).unwrap_or(0);
    let clock = ClockBase {
        instant: Instant::now(),
        unix_ms: now,
    };
    let report = witmq_storage::check(&dir, &clock).map_err(|error| match error {
        OpenError::Locked { .. } => CliError::new(Exit::Refused, error.to_string())
            .hint("stop the broker first: its files change while it runs"),
        error => CliError::failed(error.to_string()),
    })?;
    show(&report, now);
    if report.is_sound() {
        print("nothing is damaged");
        return Ok(());
    }
    let count = report.damages.len() + report.records.len();
    Err(CliError::failed(format!("{count} damaged places"))
        .hint("a torn write of the last batch is cut at the next start; anything else: restore the folder from a backup"))
}

fn show(report: &Report, now: u64) {
    print(&format!("folder  {}", report.dir.display()));
    match report.format {
        Some(format) => print(&format!("format  {format}")),
        None => print("format  not read: opening damaged files would cut them"),
    }
    if !report.tables.is_empty() {
        let rows = report.tables.iter().map(|table| {
            vec![
                table.name.clone(),
                table.entries.to_string(),
                table.bytes.to_string(),
            ]
        });
        table(&["TABLE", "ENTRIES", "BYTES"], &rows.collect::<Vec<_>>());
    }
    if !report.slices.is_empty() {
        let rows = report.slices.iter().map(|slice| {
            let age = Duration::from_millis(now.saturating_sub(slice.created));
            vec![
                slice.name.clone(),
                slice.messages.to_string(),
                slice.bytes.to_string(),
                format!("{} s", age.as_secs()),
            ]
        });
        let headings = ["SLICE", "MESSAGES", "BYTES", "AGE"];
        table(&headings, &rows.collect::<Vec<_>>());
    }
    for damage in &report.damages {
        print(&damage.to_string());
    }
    report.records.iter().for_each(|record| print(record));
}
