//! Who keeps the clock of this machine in step with others, as far as files tell.
//!
//! Owns: [`Keeper`], and which files of which service are looked at. Must not: judge. The kernel knows better and tells it
//! only to who calls it (`adjtimex`), for which there is no safe way.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A service that keeps clocks in step.
struct Service {
    name: &'static str,
    /// Names of its process, of which the kernel keeps 15 bytes.
    processes: &'static [&'static str],
    /// Written anew whenever it set the clock, or every hour while it does.
    signs: &'static [&'static str],
}

const SERVICES: [Service; 5] = [
    Service {
        name: "systemd-timesyncd",
        processes: &["systemd-timesyn"],
        signs: &["run/systemd/timesync/synchronized"],
    },
    Service {
        name: "chrony",
        processes: &["chronyd"],
        signs: &["var/lib/chrony/chrony.drift", "var/lib/chrony/drift"],
    },
    Service {
        name: "ntpd",
        processes: &["ntpd"],
        signs: &[
            "var/lib/ntpsec/ntp.drift",
            "var/lib/ntp/ntp.drift",
            "var/lib/ntp/drift",
            "var/db/ntpd.drift",
        ],
    },
    Service {
        name: "ntpd-rs",
        processes: &["ntp-daemon"],
        signs: &[],
    },
    Service {
        name: "ptp4l",
        processes: &["ptp4l", "phc2sys"],
        signs: &[],
    },
];
/// Files that are there in containers: whose clock it is, and who keeps it, is outside.
const CONTAINED: [&str; 3] = [".dockerenv", "run/.containerenv", "run/systemd/container"];

/// Who keeps the clock in step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Keeper {
    /// This cannot be seen from here.
    #[default]
    Unknown,
    /// The machine around this container, if anybody.
    Outside,
    /// None that is known runs.
    Nobody,
    /// It runs, and `ago` is when it set the clock last; `None`: it does not say.
    Runs {
        service: &'static str,
        ago: Option<Duration>,
    },
    /// It runs, and its sign, which it makes when it first set the clock, is not there.
    Waits { service: &'static str },
}

/// Looks for services and their signs.
pub(super) fn keeper(root: &Path, now: SystemTime) -> Keeper {
    let is_there = |path: &&str| root.join(path).exists();
    let Some(processes) = processes(root) else {
        return Keeper::Unknown;
    };
    let running = SERVICES.iter().find(|service| {
        let mut names = processes.iter();
        names.any(|name| service.processes.contains(&name.as_str()))
    });
    let Some(service) = running else {
        return match CONTAINED.iter().any(is_there) {
            true => Keeper::Outside,
            false => Keeper::Nobody,
        };
    };
    let name = service.name;
    let signs = service.signs.iter();
    let written = signs.filter_map(|path| fs::metadata(root.join(path)).ok()?.modified().ok());
    match written.max() {
        Some(at) => Keeper::Runs {
            service: name,
            ago: Some(now.duration_since(at).unwrap_or_default()),
        },
        // That of others may be in a folder that is closed to us.
        None if name == "systemd-timesyncd" => Keeper::Waits { service: name },
        None => Keeper::Runs {
            service: name,
            ago: None,
        },
    }
}

/// Names of processes; `None`: they cannot be seen.
fn processes(root: &Path) -> Option<Vec<String>> {
    let folders = fs::read_dir(root.join("proc")).ok()?;
    let names: Vec<_> = folders
        .flatten()
        .filter(|folder| {
            (folder.file_name().to_str()).is_some_and(|name| name.parse::<u32>().is_ok())
        })
        .filter_map(|folder| fs::read_to_string(folder.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect();
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000);

    /// What is seen where these files are, of which `sign` was written 90 s ago.
    fn seen(files: &[(&str, &str)], sign: Option<&str>) -> Keeper {
        let root = tempfile::tempdir().expect("folder");
        let signed = sign.map(|path| (path, ""));
        for (path, text) in files.iter().copied().chain(signed) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            fs::write(path, text).expect("file");
        }
        let now = SystemTime::UNIX_EPOCH + NOW;
        if let Some(path) = sign {
            let file = fs::File::options().write(true).open(root.path().join(path));
            let at = now - Duration::from_secs(90);
            file.expect("file").set_modified(at).expect("time");
        }
        keeper(root.path(), now)
    }

    #[test]
    fn who_runs_is_found_and_when_it_set_the_clock() {
        let first = ("proc/1/comm", "systemd\n");
        let ago = Some(Duration::from_secs(90));
        let runs = |service, ago| Keeper::Runs { service, ago };
        for (process, sign, wanted) in [
            (
                "systemd-timesyn\n",
                Some("run/systemd/timesync/synchronized"),
                runs("systemd-timesyncd", ago),
            ),
            (
                "systemd-timesyn\n",
                None,
                Keeper::Waits {
                    service: "systemd-timesyncd",
                },
            ),
            (
                "chronyd\n",
                Some("var/lib/chrony/chrony.drift"),
                runs("chrony", ago),
            ),
            ("chronyd\n", None, runs("chrony", None)),
            (
                "ntpd\n",
                Some("var/lib/ntpsec/ntp.drift"),
                runs("ntpd", ago),
            ),
            ("phc2sys\n", None, runs("ptp4l", None)),
            ("chronyc\n", None, Keeper::Nobody),
            (
                "sshd\n",
                Some("run/systemd/timesync/synchronized"), // of one that ran before
                Keeper::Nobody,
            ),
        ] {
            let found = seen(&[first, ("proc/77/comm", process)], sign);
            assert_eq!(found, wanted, "{process} {sign:?}");
        }
    }

    #[test]
    fn in_a_container_the_clock_is_that_of_the_machine_outside() {
        let own = ("proc/1/comm", "witmq\n");
        for file in CONTAINED {
            assert_eq!(seen(&[own, (file, "")], None), Keeper::Outside, "{file}");
        }
        let inside = ("proc/2/comm", "chronyd\n");
        let found = seen(&[own, inside, (".dockerenv", "")], None);
        assert!(matches!(found, Keeper::Runs { .. }), "{found:?}");
        assert_eq!(seen(&[own], None), Keeper::Nobody);
        assert_eq!(seen(&[], None), Keeper::Unknown, "nothing can be seen");
    }
}
