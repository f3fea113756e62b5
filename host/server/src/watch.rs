//! The watched folders of `witmq dev`: a saved chain, sink or component is deployed, with the outcome in the log.

use notify::{Event, RecursiveMode, Watcher as _};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;
use witmq_broker::ports::control::InstallOptions;
use witmq_broker::ports::{ControlError, PluginControl, RuleControl, SinkControl};

/// Changes waiting to be looked at; beyond this the folder is read again as a whole.
const QUEUE: usize = 256;
/// An editor writes a file in several steps: act when this long nothing more came.
const SETTLE: Duration = Duration::from_millis(150);

/// Watches until dropped.
pub(crate) struct Watch {
    _watcher: notify::RecommendedWatcher,
}

/// What the folders are deployed to.
#[derive(Clone)]
pub(crate) struct Targets {
    pub(crate) rules: Arc<dyn RuleControl>,
    pub(crate) plugins: Arc<dyn PluginControl>,
    pub(crate) sinks: Arc<dyn SinkControl>,
}

/// Folders below that of `witmq dev`. What others name comes first: chains name sinks and plugins.
pub(crate) const FOLDERS: [&str; 3] = ["plugins", SINKS, "rules"];
const SINKS: &str = "sinks";

/// Deploys what is in [`FOLDERS`] of `dir` now, then whenever a file of them changes.
///
/// # Errors
/// The folders cannot be watched.
pub(crate) fn start(dir: &Path, targets: Targets) -> anyhow::Result<Watch> {
    let folders = FOLDERS.map(|folder| dir.join(folder));
    for path in folders.iter().flat_map(|folder| files_of(folder)) {
        deploy(&path, &targets);
    }
    let (changed, changes) = sync_channel(QUEUE);
    let mut watcher = notify::recommended_watcher(move |event| note(event, &changed))?;
    for folder in &folders {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    std::thread::Builder::new()
        .name("witmq-watch".into())
        .spawn(move || follow(&changes, &folders, &targets))?;
    Ok(Watch { _watcher: watcher })
}

/// `None` stands for "something changed, look at everything".
type Change = Option<PathBuf>;

fn note(event: notify::Result<Event>, changed: &SyncSender<Change>) {
    let Ok(event) = event else { return };
    if matches!(event.kind, notify::EventKind::Access(_)) {
        return; // our own reading
    }
    for path in event.paths {
        // A full queue already holds enough to make the follower look again.
        drop(changed.try_send(Some(path)));
    }
    if event.attrs.flag() == Some(notify::event::Flag::Rescan) {
        drop(changed.try_send(None));
    }
}

fn follow(changes: &Receiver<Change>, folders: &[PathBuf], targets: &Targets) {
    while let Ok(first) = changes.recv() {
        let mut batch = vec![first];
        loop {
            match changes.recv_timeout(SETTLE) {
                Ok(change) => batch.push(change),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        let everything = batch.len() >= QUEUE || batch.contains(&None);
        let paths: BTreeSet<PathBuf> = if everything {
            folders.iter().flat_map(|f| files_of(f)).collect()
        } else {
            batch.into_iter().flatten().collect()
        };
        // In the order of the start.
        let mut paths: Vec<PathBuf> = paths.into_iter().collect();
        paths.sort_by_key(|path| match has_extension(path, "wasm") {
            true => 0,
            false => 1 + u8::from(!is_sink(path)),
        });
        for path in &paths {
            deploy(path, targets);
        }
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e == extension)
}

fn is_sink(path: &Path) -> bool {
    let folder = path.parent().and_then(Path::file_name);
    folder.is_some_and(|name| name == SINKS) && has_extension(path, "toml")
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.path()).collect();
    paths.sort();
    paths
}

fn deploy(path: &Path, targets: &Targets) {
    let Some(stem) = path.file_stem().and_then(|s| s.to_str()) else {
        return;
    };
    let file = path.display().to_string();
    let outcome = if is_sink(path) {
        match std::fs::read_to_string(path) {
            Ok(text) => (targets.sinks.apply(&file, &text, false))
                .map(|sink| format!("a sink of the kind {}", sink.kind)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                (targets.sinks.remove(stem, false)).map(|()| "removed".to_owned())
            }
            Err(e) => Err(ControlError::Internal(format!("{file}: {e}"))),
        }
    } else if has_extension(path, "toml") {
        match std::fs::read_to_string(path) {
            Ok(text) => targets
                .rules
                .apply(&file, &text, false)
                .map(|i| format!("revision {}", i.revision)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                targets.rules.remove(stem).map(|()| "removed".to_owned())
            }
            Err(e) => Err(ControlError::Internal(format!("{file}: {e}"))),
        }
    } else if has_extension(path, "wasm") {
        let name = stem.replace('_', "-");
        match std::fs::read(path) {
            Ok(wasm) if wasm.is_empty() => return, // the copy has only begun
            Ok(wasm) => targets
                .plugins
                .install(&name, wasm, options(path))
                .map(|i| format!("version {}", i.active.version)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return, // the installed version stays
            Err(e) => Err(ControlError::Internal(format!("{file}: {e}"))),
        }
    } else {
        return;
    };
    match outcome {
        Ok(what) => tracing::info!(file, "deployed: {what}"),
        Err(ControlError::NotFound(_)) => {}
        Err(ControlError::Invalid { message, hint, .. }) => {
            tracing::warn!(
                file,
                hint = hint.unwrap_or_default(),
                "not deployed, what ran before runs on: {message}"
            );
        }
        Err(error) => tracing::warn!(file, "not deployed, what ran before runs on: {error}"),
    }
}

/// With the signature that stands beside the component, if there is one.
fn options(path: &Path) -> InstallOptions {
    InstallOptions {
        origin: Some(path.display().to_string()),
        signature: std::fs::read(path.with_extension("wasm.sig")).ok(),
        ..InstallOptions::default()
    }
}
