//! Each check from both sides.

use super::checks;
use super::machine::{Data, Machine};
use super::time::Keeper;
use super::{Finding, Level, as_json};
use crate::config::{Config, Durability};
use std::time::{Duration, SystemTime};

/// A machine that nothing is wrong with, for the configuration of [`config`].
fn machine() -> Machine {
    Machine {
        files: (Some(1512), Some(1512)),
        somaxconn: Some(4096),
        tcp_pages: Some(2000),
        receive: Some([4096, 131_072, 6_291_456]),
        send: Some([4096, 16_384, 4_194_304]),
        overcommit: Some(0),
        mappings: Some(65_530),
        memory_bytes: Some(64 << 30),
        group_bytes: None,
        cpus: 4,
        huge_pages: Some("madvise".to_owned()),
        clock_source: Some("tsc".to_owned()),
        now: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1000)),
        keeper: kept(24 * 3600),
        data: Data {
            path: "/var/lib/witmq".into(),
            is_there: true,
            mode: Some(0o700),
            owner: Some(7),
            user: 7,
            token: Some((0o600, Some(SystemTime::UNIX_EPOCH))),
            file_system: Some("ext4".to_owned()),
            free_bytes: Some(1 << 50),
            sync: Some(Ok((Duration::from_millis(1), Duration::from_millis(2)))),
        },
    }
}

/// By chrony, and that is so long ago.
fn kept(secs: u64) -> Keeper {
    Keeper::Runs {
        service: "chrony",
        ago: Some(Duration::from_secs(secs)),
    }
}

/// A thousand connections.
fn config() -> Config {
    let mut config = Config::default();
    config.limits.max_connections = 1000;
    config
}

fn of(machine: &Machine, config: &Config, check: &str) -> Finding {
    let all = checks::all(machine, config);
    let found = all.into_iter().find(|finding| finding.check == check);
    found.unwrap_or_else(|| panic!("no check is called {check}"))
}

#[test]
fn nothing_is_said_where_nothing_is_wrong() {
    for mode in [0o700, 0o750] {
        let mut machine = machine();
        machine.data.mode = Some(mode);
        for finding in checks::all(&machine, &config()) {
            assert_eq!(finding.level, Level::Ok, "{finding:?}");
            assert_eq!((&finding.advice, &finding.command), (&None, &None));
        }
    }
}

/// A change of the machine that is just too much.
type Change = fn(&mut Machine);

const CHANGES: [(&str, Level, Change); 27] = [
    ("open files", Level::Warn, |m| m.files.0 = Some(1511)),
    ("open files", Level::Fail, |m| m.files.0 = Some(1023)),
    ("backlog", Level::Warn, |m| m.somaxconn = Some(4095)),
    ("tcp buffers", Level::Warn, |m| m.tcp_pages = Some(1999)),
    ("memory", Level::Warn, |m| m.memory_bytes = Some(1 << 30)),
    ("memory", Level::Warn, |m| m.group_bytes = Some(1 << 30)),
    ("memory", Level::Fail, |m| m.group_bytes = Some(100 << 20)),
    ("overcommit", Level::Warn, |m| m.overcommit = Some(2)),
    ("mappings", Level::Warn, |m| m.mappings = Some(8799)),
    ("huge pages", Level::Warn, |m| {
        m.huge_pages = Some("always".to_owned());
    }),
    ("clock", Level::Warn, |m| {
        m.clock_source = Some("hpet".to_owned());
    }),
    ("clock", Level::Fail, |m| {
        m.now = Some(SystemTime::UNIX_EPOCH - Duration::from_secs(61));
    }),
    ("time", Level::Warn, |m| m.keeper = kept(24 * 3600 + 1)),
    ("time", Level::Warn, |m| m.keeper = Keeper::Nobody),
    ("time", Level::Warn, |m| {
        m.keeper = Keeper::Waits {
            service: "systemd-timesyncd",
        };
    }),
    ("data folder", Level::Warn, |m| m.data.mode = Some(0o770)),
    ("data folder", Level::Warn, |m| m.data.mode = Some(0o707)),
    ("data folder", Level::Warn, |m| m.data.owner = Some(8)),
    ("data folder", Level::Fail, |m| {
        m.data.sync = Some(Err("read-only".to_owned()));
    }),
    ("data folder", Level::Fail, |m| {
        m.data.mode = None;
        m.data.sync = Some(Err("permission denied".to_owned()));
    }),
    ("admin token", Level::Fail, |m| {
        m.data.token = Some((0o640, None));
    }),
    ("admin token", Level::Fail, |m| {
        m.data.token = Some((0o604, None));
    }),
    ("free space", Level::Warn, |m| {
        m.data.free_bytes = Some(64 << 20)
    }),
    ("free space", Level::Fail, |m| {
        m.data.free_bytes = Some((64 << 20) - 1);
    }),
    ("file system", Level::Warn, |m| {
        m.data.file_system = Some("tmpfs".to_owned());
    }),
    ("file system", Level::Warn, |m| {
        m.data.file_system = Some("nfs4".to_owned());
    }),
    ("sync", Level::Warn, |m| {
        m.data.sync = Some(Ok((Duration::from_millis(11), Duration::from_millis(11))));
    }),
];

#[test]
fn what_is_wrong_is_said_with_what_to_do_and_nothing_else_is() {
    for (number, (check, level, change)) in CHANGES.into_iter().enumerate() {
        let mut machine = machine();
        change(&mut machine);
        for finding in checks::all(&machine, &config()) {
            match finding.check == check {
                true => {
                    assert_eq!(finding.level, level, "{number}: {finding:?}");
                    assert!(finding.advice.is_some(), "{finding:?}");
                }
                // A folder that cannot be written cannot be synced, either, which is said once.
                false => assert_eq!(finding.level, Level::Ok, "{number}: {finding:?}"),
            }
        }
    }
}

#[test]
fn the_configuration_counts() {
    let mut config = config();
    config.shards = 4;
    assert_eq!(of(&machine(), &config, "shards").level, Level::Ok);
    config.shards = 5;
    assert_eq!(of(&machine(), &config, "shards").level, Level::Warn);
    let mut more = Config::default();
    more.limits.max_connections = 1001;
    assert_eq!(of(&machine(), &more, "open files").level, Level::Warn);
    let command = of(&machine(), &more, "open files").command;
    assert!(command.is_some_and(|command| command.contains("LimitNOFILE=1513")));
    // Nobody waits for a sync, and nothing is kept, where nothing is promised.
    let mut machine = machine();
    machine.data.sync = Some(Ok((Duration::from_secs(1), Duration::from_secs(1))));
    machine.data.file_system = Some("tmpfs".to_owned());
    config.storage.durability = Durability::None;
    assert_eq!(of(&machine, &config, "sync").level, Level::Ok);
    assert_eq!(of(&machine, &config, "file system").level, Level::Ok);
}

#[test]
fn what_is_not_known_is_no_fault() {
    let bare = Machine {
        files: (None, None),
        cpus: 1,
        ..Machine::default()
    };
    for finding in checks::all(&bare, &config()) {
        assert_eq!(finding.level, Level::Ok, "{finding:?}");
    }
}

#[test]
fn as_many_may_wait_at_a_socket_as_the_configuration_says() {
    let mut machine = machine();
    machine.somaxconn = Some(128);
    for (wanted, level) in [(128, Level::Ok), (129, Level::Warn)] {
        let mut config = config();
        config.limits.listen_backlog = wanted;
        let all = checks::all(&machine, &config);
        let backlog = all.iter().find(|finding| finding.check == "backlog");
        assert_eq!(backlog.map(|finding| finding.level), Some(level));
    }
}

#[test]
fn programs_read_the_same() {
    let mut machine = machine();
    machine.somaxconn = Some(128);
    let text = as_json(&checks::all(&machine, &config()));
    let all: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let mut list = all.as_array().expect("a list").iter();
    let backlog = list.find(|one| one["check"] == "backlog").expect("it");
    assert_eq!(backlog["level"], "warn");
    assert_eq!(backlog["command"], "sysctl -w net.core.somaxconn=4096");
    assert_eq!(all[0]["advice"], serde_json::Value::Null);
}

#[test]
fn who_keeps_the_clock_is_said_in_words() {
    let said = |keeper: Keeper| {
        let machine = Machine {
            keeper,
            ..machine()
        };
        let finding = of(&machine, &config(), "time");
        (finding.level, finding.found)
    };
    let runs = Keeper::Runs {
        service: "ntpd",
        ago: None,
    };
    let waits = Keeper::Waits {
        service: "systemd-timesyncd",
    };
    for (keeper, level, wanted) in [
        (
            kept(119),
            Level::Ok,
            "chrony keeps the clock in step, last seen 1 min ago",
        ),
        (
            kept(3600),
            Level::Ok,
            "chrony keeps the clock in step, last seen 1 h ago",
        ),
        (
            kept(25 * 3600),
            Level::Warn,
            "chrony keeps the clock in step, last seen 25 h ago",
        ),
        (
            runs,
            Level::Ok,
            "ntpd runs; whether the clock is in step it has to be asked itself",
        ),
        (
            waits,
            Level::Warn,
            "systemd-timesyncd runs, and has not set the clock yet",
        ),
        (
            Keeper::Nobody,
            Level::Warn,
            "nobody keeps the clock in step",
        ),
        (
            Keeper::Outside,
            Level::Ok,
            "a container: the machine outside keeps the clock, or does not",
        ),
        (Keeper::Unknown, Level::Ok, "not known on this machine"),
    ] {
        assert_eq!(said(keeper), (level, wanted.to_owned()));
    }
}
