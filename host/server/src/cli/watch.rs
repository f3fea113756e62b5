//! `witmq plugin watch`: what is saved is built, tested and swapped into a running broker.
//!
//! A version that does not build, fails a test or is refused changes nothing: the one before serves on.

use super::args::WatchArgs;
use super::project::{self, is_source};
use super::{CliError, plugin, print};
use notify::{Event, RecursiveMode, Watcher as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Editors write a file in several steps: it has to be quiet for so long.
const QUIET: Duration = Duration::from_millis(150);

/// Runs until it is interrupted.
///
/// # Errors
/// The folder cannot be watched.
pub(super) fn watch(args: &WatchArgs) -> Result<(), CliError> {
    let folder = args.folder.canonicalize();
    let folder =
        folder.map_err(|error| CliError::failed(format!("{}: {error}", args.folder.display())))?;
    let (changed, changes) = sync_channel(1);
    let _watcher = start(&folder, changed)?;
    loop {
        let start = Instant::now();
        match turn(&folder, args) {
            Ok(said) => print(&format!("{said} ({:.1} s)", start.elapsed().as_secs_f64())),
            Err(error) => print(&format!("{error}\nthe version before serves on")),
        }
        print(&format!("watching {} …", folder.display()));
        if !wait(&changes) {
            return Err(CliError::failed(format!(
                "{} is watched no more",
                folder.display()
            )));
        }
    }
}

/// One version: tested, built, installed; the broker runs its own tests before it serves.
fn turn(folder: &Path, args: &WatchArgs) -> Result<String, CliError> {
    project::test(folder)?;
    let wasm = project::build(folder)?;
    plugin::put(&wasm, folder, args)
}

fn start(folder: &Path, changed: SyncSender<()>) -> Result<impl Sized, CliError> {
    let bad = |error: notify::Error| CliError::failed(format!("{}: {error}", folder.display()));
    let root = folder.to_path_buf();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let is_source = |path: &PathBuf| is_source(&root, path);
        if event.is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(is_source)) {
            // Full: a turn is due already.
            let _is_due = changed.try_send(()).is_err();
        }
    })
    .map_err(bad)?;
    watcher
        .watch(folder, RecursiveMode::Recursive)
        .map_err(bad)?;
    Ok(watcher)
}

/// Waits for a change and then for quiet; false: nothing will come.
fn wait(changes: &Receiver<()>) -> bool {
    if changes.recv().is_err() {
        return false;
    }
    loop {
        match changes.recv_timeout(QUIET) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}
