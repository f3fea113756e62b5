//! What this machine is: read from `/proc`, `/sys` and the data folder.
//!
//! Owns: [`Machine`]; what cannot be read is `None`. Must not: judge.

use super::time::{Keeper, keeper};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Syncs that are measured.
const SYNCS: usize = 16;
/// Bytes of each.
const SYNC_BYTES: usize = 4096;
/// The file that is written and removed.
const PROBE: &str = ".doctor";

/// A machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Machine {
    /// Open files of this process: now, and as far as it may be raised. `None` as a number: as many as it likes.
    pub(super) files: (Option<u64>, Option<u64>),
    pub(super) somaxconn: Option<u64>,
    /// Pages that TCP may have altogether before it saves memory.
    pub(super) tcp_pages: Option<u64>,
    /// Least, usual and most bytes of a receive buffer, and of a send buffer.
    pub(super) receive: Option<[u64; 3]>,
    pub(super) send: Option<[u64; 3]>,
    pub(super) overcommit: Option<u64>,
    pub(super) mappings: Option<u64>,
    pub(super) memory_bytes: Option<u64>,
    /// The limit of the control group, or of one around it.
    pub(super) group_bytes: Option<u64>,
    pub(super) cpus: usize,
    pub(super) huge_pages: Option<String>,
    pub(super) clock_source: Option<String>,
    pub(super) now: Option<SystemTime>,
    pub(super) keeper: Keeper,
    pub(super) data: Data,
}

/// The data folder, or where it will be.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Data {
    pub(super) path: PathBuf,
    pub(super) is_there: bool,
    /// Mode and owner.
    pub(super) mode: Option<u32>,
    pub(super) owner: Option<u32>,
    pub(super) user: u32,
    /// Mode of the admin token, and when it was written.
    pub(super) token: Option<(u32, Option<SystemTime>)>,
    pub(super) file_system: Option<String>,
    pub(super) free_bytes: Option<u64>,
    /// Median and longest of the syncs, or why there was none.
    pub(super) sync: Option<Result<(Duration, Duration), String>>,
}

/// Looks around; `root` is `/` but for tests.
pub(super) fn look(root: &Path, data_dir: &Path) -> Machine {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let [somaxconn, overcommit, mappings] = [
        "proc/sys/net/core/somaxconn",
        "proc/sys/vm/overcommit_memory",
        "proc/sys/vm/max_map_count",
    ]
    .map(|path| numbers(&root.join(path)).first().copied());
    let now = SystemTime::now();
    let triple = |path: &str| <[u64; 3]>::try_from(numbers(&root.join(path))).ok();
    Machine {
        files: (limit.current, limit.maximum),
        somaxconn,
        tcp_pages: triple("proc/sys/net/ipv4/tcp_mem").map(|[_, pressure, _]| pressure),
        receive: triple("proc/sys/net/ipv4/tcp_rmem"),
        send: triple("proc/sys/net/ipv4/tcp_wmem"),
        overcommit,
        mappings,
        memory_bytes: memory(root),
        group_bytes: group(root),
        cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        huge_pages: chosen(&root.join("sys/kernel/mm/transparent_hugepage/enabled")),
        clock_source: text(
            &root.join("sys/devices/system/clocksource/clocksource0/current_clocksource"),
        ),
        now: Some(now),
        keeper: keeper(root, now),
        data: data(root, data_dir),
    }
}

fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

/// The numbers of a file, in order.
fn numbers(path: &Path) -> Vec<u64> {
    let text = text(path).unwrap_or_default();
    let words = text.split_whitespace();
    words.map_while(|word| word.parse().ok()).collect()
}

/// The word in brackets.
fn chosen(path: &Path) -> Option<String> {
    let text = text(path)?;
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word.to_owned())
}

fn memory(root: &Path) -> Option<u64> {
    let text = text(&root.join("proc/meminfo"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The least limit of the control group of this process and those around it, in either version of the files.
fn group(root: &Path) -> Option<u64> {
    let own = text(&root.join("proc/self/cgroup")).unwrap_or_default();
    let path = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (_, kinds, path) = (parts.next()?, parts.next()?, parts.next()?);
        let base = match kinds {
            "" => "sys/fs/cgroup",
            kinds if kinds.split(',').any(|kind| kind == "memory") => "sys/fs/cgroup/memory",
            _ => return None,
        };
        Some((root.join(base), path.trim_start_matches('/').to_owned()))
    };
    let mut limits = Vec::new();
    for (base, path) in own.lines().filter_map(path) {
        let whole = base.join(path);
        // In a container the path may be that of the machine outside: what is there counts.
        for folder in whole
            .ancestors()
            .take_while(|folder| folder.starts_with(&base))
        {
            for file in ["memory.max", "memory.limit_in_bytes"] {
                limits.extend(numbers(&folder.join(file)).first());
            }
        }
    }
    // Version 1 says "none" with a number close to the largest.
    limits.into_iter().filter(|limit| *limit < 1 << 60).min()
}

fn data(root: &Path, path: &Path) -> Data {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let known = fs::metadata(&path).ok();
    let near = path.ancestors().find(|folder| folder.is_dir());
    let near = near.unwrap_or(&path).to_owned();
    let space = rustix::fs::statvfs(&near).ok();
    let token = fs::metadata(path.join("admin.token")).ok();
    Data {
        is_there: known.is_some(),
        mode: known.as_ref().map(|known| known.mode() & 0o7777),
        owner: known.as_ref().map(MetadataExt::uid),
        user: rustix::process::geteuid().as_raw(),
        token: token.map(|token| (token.mode() & 0o7777, token.modified().ok())),
        file_system: file_system(root, &near),
        free_bytes: space.map(|space| space.f_bavail.saturating_mul(space.f_frsize)),
        sync: Some(sync(&near).map_err(|error| error.to_string())),
        path,
    }
}

/// The type of the file system that a folder is on.
fn file_system(root: &Path, folder: &Path) -> Option<String> {
    let text = text(&root.join("proc/self/mountinfo"))?;
    let mounts = text.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let at = before.split(' ').nth(4)?.replace("\\040", " ");
        let kind = after.split(' ').next()?;
        folder.starts_with(&at).then(|| (at.len(), kind.to_owned()))
    });
    // The last of those mounted at one place is the one that is seen.
    let (_, kind) = mounts.max_by_key(|(length, _)| *length)?;
    Some(kind)
}

/// What a write takes until it is on the disk: the median and the longest.
fn sync(folder: &Path) -> std::io::Result<(Duration, Duration)> {
    let path = folder.join(PROBE);
    let measured = File::create(&path).and_then(|mut file| {
        let mut took = Vec::with_capacity(SYNCS);
        for _ in 0..SYNCS {
            let start = Instant::now();
            file.write_all(&[0; SYNC_BYTES])?;
            file.sync_data()?;
            took.push(start.elapsed());
        }
        took.sort();
        Ok(took)
    });
    let _is_left = fs::remove_file(&path).is_err();
    let took = measured?;
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    Ok((median, took.last().copied().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            fs::write(path, text).expect("file");
        }
        root
    }

    #[test]
    fn what_is_written_is_read() {
        let root = root(&[
            ("proc/sys/net/core/somaxconn", "4096\n"),
            ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n"),
            ("proc/sys/net/ipv4/tcp_mem", "1 2 3\n"),
            ("proc/sys/vm/overcommit_memory", "2\n"),
            (
                "proc/meminfo",
                "MemTotal:       8000000 kB\nMemFree: 1 kB\n",
            ),
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/memory.max", "1000000\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            (
                "sys/kernel/mm/transparent_hugepage/enabled",
                "always [madvise] never\n",
            ),
        ]);
        let data = root.path().join("not/there");
        let machine = look(root.path(), &data);
        assert_eq!(machine.somaxconn, Some(4096));
        assert_eq!(machine.receive, Some([4096, 131_072, 6_291_456]));
        assert_eq!(machine.tcp_pages, Some(2));
        assert_eq!(machine.overcommit, Some(2));
        assert_eq!(machine.memory_bytes, Some(8_192_000_000));
        assert_eq!(
            machine.group_bytes,
            Some(1_000_000),
            "that of the group around it"
        );
        assert_eq!(machine.huge_pages.as_deref(), Some("madvise"));
        assert_eq!((machine.send, machine.mappings), (None, None), "not there");
        assert!(!machine.data.is_there && machine.data.free_bytes.is_some());
        assert!(machine.data.sync.expect("measured").is_ok());
        assert!(!root.path().join(PROBE).exists(), "nothing is left");
    }

    #[test]
    fn groups_of_the_first_version_are_read_too() {
        let memory = "sys/fs/cgroup/memory/memory.limit_in_bytes";
        let own = ("proc/self/cgroup", "5:cpu:/x\n4:memory,other:/\n");
        let limited = root(&[own, (memory, "5000\n")]);
        assert_eq!(group(limited.path()), Some(5000));
        let free = root(&[own, (memory, "9223372036854771712\n")]);
        assert_eq!(group(free.path()), None);
    }

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount() {
        let root = root(&[(
            "proc/self/mountinfo",
            "1 0 0:1 / / rw shared:1 - overlay overlay rw\n2 1 0:2 / /var/lib rw - ext4 /dev/a rw\n",
        )]);
        let of = |folder: &str| file_system(root.path(), Path::new(folder));
        assert_eq!(of("/var/lib/witmq").as_deref(), Some("ext4"));
        assert_eq!(of("/var/library").as_deref(), Some("overlay"));
    }
}
