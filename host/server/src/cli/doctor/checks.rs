//! What is thought of a machine under a configuration.
//!
//! Owns: each check, its levels and its advice. Must not: read anything: a machine is given.

use super::machine::{Data, Machine};
use super::time::Keeper;
use super::{Finding, Level};
use crate::config::{Config, Durability};
use std::time::Duration;

/// Files that the broker opens besides connections: storage, plugins, listeners, its own.
const OTHER_FILES: u64 = 512;
/// Fewer files than this are none to serve with.
const LEAST_FILES: u64 = 1024;
/// Of one connection with a subscription, as measured (`host/docs/performance.md`).
const CONNECTION_BYTES: u64 = 4907;
/// Of the kernel, for the socket of a connection that is idle.
const SOCKET_BYTES: u64 = 4096;
/// Of the broker at its start, and some more.
const BASE_BYTES: u64 = 128 << 20;
const PAGE_BYTES: u64 = 4096;
/// Mappings that one instance of a plugin takes.
const INSTANCE_MAPPINGS: u64 = 4;
/// Less than this is no place to keep anything.
const LEAST_FREE: u64 = 64 << 20;
/// A sync that takes so long is one of a slow disk, or of a busy one.
const SLOW_SYNC: Duration = Duration::from_millis(10);
/// File systems whose files are gone with the machine, or whose locks and syncs are the word of another machine.
const VOLATILE: [&str; 2] = ["tmpfs", "ramfs"];
const REMOTE: [&str; 6] = ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"];
/// Services set the clock, or write down that they do, more often than this.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// Clock sources that are read without a call into the kernel.
const QUICK_CLOCKS: [&str; 4] = [
    "tsc",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "arch_sys_counter",
];

/// All checks, in the order in which they are shown.
pub(super) fn all(machine: &Machine, config: &Config) -> Vec<Finding> {
    let mut all = vec![
        files(machine, config),
        backlog(machine, config),
        buffers(machine, config),
        memory(machine, config),
        overcommit(machine),
        mappings(machine, config),
        huge_pages(machine),
        cpus(machine, config),
        clock(machine),
        time(machine),
        folder(&machine.data),
        token(&machine.data),
    ];
    all.extend([
        space(machine, config),
        file_system(machine, config),
        sync(machine, config),
    ]);
    all
}

fn ok(check: &'static str, found: String) -> Finding {
    Finding {
        check,
        level: Level::Ok,
        found,
        advice: None,
        command: None,
    }
}

impl Finding {
    fn but(mut self, level: Level, advice: impl Into<String>, command: impl Into<String>) -> Self {
        self.level = level;
        self.advice = Some(advice.into());
        self.command = Some(command.into()).filter(|command| !command.is_empty());
        self
    }
}

fn unknown(check: &'static str) -> Finding {
    ok(check, "not known on this machine".to_owned())
}

/// Connections that the configuration allows.
fn connections(config: &Config) -> u64 {
    let listeners = config.listeners.iter();
    let listeners: u64 = listeners
        .map(|listener| u64::from(listener.max_connections))
        .sum();
    listeners.min(config.limits.max_connections.into())
}

fn shards(machine: &Machine, config: &Config) -> u64 {
    match config.shards {
        0 => u64::try_from(machine.cpus).unwrap_or(1),
        shards => shards.into(),
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn files(machine: &Machine, config: &Config) -> Finding {
    let needed = connections(config) + OTHER_FILES;
    let (now, most) = machine.files;
    let shown = now.map_or_else(|| "no limit".to_owned(), |files| files.to_string());
    let found = ok(
        "open files",
        format!("{shown}; {needed} for the configured connections"),
    );
    let level = match now {
        Some(files) if files < LEAST_FILES => Level::Fail,
        Some(files) if files < needed => Level::Warn,
        _ => return found,
    };
    let advice = "connections beyond it are not accepted; LimitNOFILE= of the systemd unit, or fewer max_connections";
    let command = match most.is_none_or(|most| most >= needed) {
        true => format!("ulimit -n {needed}"),
        false => format!("systemctl edit witmq   # [Service] LimitNOFILE={needed}"),
    };
    found.but(level, advice, command)
}

fn backlog(machine: &Machine, config: &Config) -> Finding {
    let wanted = u64::from(config.limits.listen_backlog);
    let Some(most) = machine.somaxconn else {
        return unknown("backlog");
    };
    let found = ok(
        "backlog",
        format!("net.core.somaxconn {most}; each shard asks for {wanted}"),
    );
    match most < wanted {
        true => found.but(
            Level::Warn,
            "when many clients connect at once, some wait a second or more for another try",
            format!("sysctl -w net.core.somaxconn={wanted}"),
        ),
        false => found,
    }
}

fn buffers(machine: &Machine, config: &Config) -> Finding {
    let (Some(pages), Some([receive, ..]), Some([send, ..])) =
        (machine.tcp_pages, machine.receive, machine.send)
    else {
        return unknown("tcp buffers");
    };
    let there = pages.saturating_mul(PAGE_BYTES);
    let needed = connections(config).saturating_mul(receive + send);
    let found = ok(
        "tcp buffers",
        format!(
            "{} before the kernel saves; {} for the least buffers of the configured connections",
            mib(there),
            mib(needed)
        ),
    );
    match there < needed {
        true => {
            let wanted = needed.div_ceil(PAGE_BYTES);
            let most = wanted.saturating_mul(2);
            found.but(
                Level::Warn,
                "beyond it the kernel shrinks buffers, and drops at twice of it",
                format!("sysctl -w net.ipv4.tcp_mem='{wanted} {wanted} {most}'"),
            )
        }
        false => found,
    }
}

fn memory(machine: &Machine, config: &Config) -> Finding {
    let there = match (machine.memory_bytes, machine.group_bytes) {
        (Some(all), Some(group)) => all.min(group),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return unknown("memory"),
    };
    let limits = &config.limits;
    let number = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    let bounds = [
        connections(config).saturating_mul(CONNECTION_BYTES + SOCKET_BYTES),
        number(limits.plugin_memory_total_bytes),
        number(limits.retained_bytes),
        number(limits.delayed_bytes),
    ];
    let needed = bounds.into_iter().fold(BASE_BYTES, u64::saturating_add);
    let of = match machine.group_bytes.is_some_and(|group| group == there) {
        true => "of the control group",
        false => "of the machine",
    };
    let found = ok(
        "memory",
        format!(
            "{} {of}; {} if connections, plugins, retained and delayed messages all reach their bounds (queues come on top)",
            mib(there),
            mib(needed)
        ),
    );
    let level = match there {
        there if there < BASE_BYTES => Level::Fail,
        there if there < needed => Level::Warn,
        _ => return found,
    };
    let advice = "the kernel ends what takes more: lower plugin_memory_total_bytes, retained_bytes, delayed_bytes or \
                  max_connections in [limits], or give it more";
    found.but(
        level,
        advice,
        "systemctl edit witmq   # [Service] MemoryMax=…",
    )
}

fn overcommit(machine: &Machine) -> Finding {
    let Some(mode) = machine.overcommit else {
        return unknown("overcommit");
    };
    let found = ok("overcommit", format!("vm.overcommit_memory {mode}"));
    match mode {
        2 => found.but(
            Level::Warn,
            "the kernel refuses memory before it is used up, and a broker that is refused ends",
            "sysctl -w vm.overcommit_memory=0",
        ),
        _ => found,
    }
}

fn mappings(machine: &Machine, config: &Config) -> Finding {
    let Some(there) = machine.mappings else {
        return unknown("mappings");
    };
    let limits = &config.limits;
    let each = shards(machine, config)
        + u64::from(limits.auth_threads)
        + u64::from(limits.plugin_lane_instances);
    let plugins = u64::try_from(limits.max_plugins).unwrap_or(u64::MAX);
    let needed = plugins
        .saturating_mul(each)
        .saturating_mul(INSTANCE_MAPPINGS);
    let found = ok(
        "mappings",
        format!("vm.max_map_count {there}; at most {needed} for {plugins} plugins"),
    );
    match there < needed {
        true => found.but(
            Level::Warn,
            "with so many plugins the last ones cannot be installed; fewer max_plugins, or more mappings",
            format!("sysctl -w vm.max_map_count={}", needed.saturating_mul(2)),
        ),
        false => found,
    }
}

fn huge_pages(machine: &Machine) -> Finding {
    let Some(mode) = &machine.huge_pages else {
        return unknown("huge pages");
    };
    let found = ok("huge pages", format!("transparent huge pages: {mode}"));
    match mode == "always" {
        true => found.but(
            Level::Warn,
            "memory that is used in small parts may be taken 2 MiB at a time, more than the bounds count",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        ),
        false => found,
    }
}

fn cpus(machine: &Machine, config: &Config) -> Finding {
    let (cpus, shards) = (machine.cpus, shards(machine, config));
    let found = ok("shards", format!("{shards} on {cpus} processors"));
    match u64::try_from(cpus).is_ok_and(|cpus| cpus < shards) {
        true => found.but(
            Level::Warn,
            "shards that share a processor wait for each other; shards = 0 is one for each",
            "",
        ),
        false => found,
    }
}

fn clock(machine: &Machine) -> Finding {
    let source = machine.clock_source.as_deref().unwrap_or("not known");
    let found = ok("clock", format!("source {source}"));
    let is_before = |now: &std::time::SystemTime| {
        let written = machine.data.token.and_then(|(_, written)| written);
        written.is_some_and(|written| written > *now + Duration::from_secs(60))
    };
    if machine.now.as_ref().is_some_and(is_before) {
        return found.but(
            Level::Fail,
            "the data folder is from the future: expiry and wills would count wrongly",
            "timedatectl status",
        );
    }
    match machine.clock_source.is_some() && !QUICK_CLOCKS.contains(&source) {
        true => found.but(
            Level::Warn,
            "each look at it is a call into the kernel, several for each batch of messages",
            "cat /sys/devices/system/clocksource/clocksource0/available_clocksource",
        ),
        false => found,
    }
}

fn time(machine: &Machine) -> Finding {
    const CHECK: &str = "time";
    const MATTERS: &str = "expiry, delayed messages, tokens and certificates go by it";
    match &machine.keeper {
        Keeper::Unknown => unknown(CHECK),
        Keeper::Outside => ok(
            CHECK,
            "a container: the machine outside keeps the clock, or does not".to_owned(),
        ),
        Keeper::Nobody => ok(CHECK, "nobody keeps the clock in step".to_owned()).but(
            Level::Warn,
            format!("{MATTERS}: run chrony, systemd-timesyncd or another service for it"),
            "timedatectl set-ntp true",
        ),
        Keeper::Waits { service } => ok(
            CHECK,
            format!("{service} runs, and has not set the clock yet"),
        )
        .but(
            Level::Warn,
            format!("{MATTERS}: is its time server reached?"),
            "timedatectl timesync-status",
        ),
        Keeper::Runs { service, ago: None } => ok(
            CHECK,
            format!("{service} runs; whether the clock is in step it has to be asked itself"),
        ),
        Keeper::Runs {
            service,
            ago: Some(ago),
        } => {
            let hours = ago.as_secs() / 3600;
            let shown = match hours {
                0 => format!("{} min ago", ago.as_secs() / 60),
                hours => format!("{hours} h ago"),
            };
            let found = ok(
                CHECK,
                format!("{service} keeps the clock in step, last seen {shown}"),
            );
            match *ago > STALE {
                true => found.but(
                    Level::Warn,
                    format!("{MATTERS}: its time server seems to be away"),
                    "timedatectl status",
                ),
                false => found,
            }
        }
    }
}

fn folder(data: &Data) -> Finding {
    let path = data.path.display();
    let (Some(mode), Some(owner)) = (data.mode, data.owner) else {
        let found = ok("data folder", format!("{path} is not there yet"));
        return match &data.sync {
            Some(Err(cause)) => found.but(
                Level::Fail,
                format!("and cannot be made: {cause}"),
                format!("install -d -m 700 {path}"),
            ),
            _ => found,
        };
    };
    let found = ok("data folder", format!("{path}, mode {mode:04o}"));
    if let Some(Err(cause)) = &data.sync {
        let advice = format!("it cannot be written: {cause}");
        return found.but(Level::Fail, advice, format!("ls -ld {path}"));
    }
    if owner != data.user && data.user != 0 {
        let advice = "it belongs to somebody else, who may change what is in it";
        return found.but(Level::Warn, advice, format!("ls -ld {path}"));
    }
    match mode & 0o027 {
        0 => found,
        _ => found.but(
            Level::Warn,
            "others on this machine may look into it, or its group may write",
            format!("chmod 700 {path}"),
        ),
    }
}

fn token(data: &Data) -> Finding {
    let Some((mode, _)) = data.token else {
        return ok(
            "admin token",
            "not there yet: the first start makes it".to_owned(),
        );
    };
    let found = ok("admin token", format!("mode {mode:04o}"));
    match mode & 0o077 {
        0 => found,
        _ => found.but(
            Level::Fail,
            "others on this machine may read it, and with it do everything: close it, then make a new one",
            format!("rm {}   # and start the broker again", data.path.join("admin.token").display()),
        ),
    }
}

fn space(machine: &Machine, config: &Config) -> Finding {
    let Some(free) = machine.data.free_bytes else {
        return unknown("free space");
    };
    let needed = match config.storage.durability {
        Durability::None => 0,
        _ => config.storage.log_bytes,
    };
    let needed = needed.saturating_add(config.limits.plugin_compiled_bytes);
    let found = ok(
        "free space",
        format!(
            "{}; the log and compiled plugins may take {}",
            mib(free),
            mib(needed)
        ),
    );
    let level = match free {
        free if free < LEAST_FREE => Level::Fail,
        free if free < needed => Level::Warn,
        _ => return found,
    };
    let advice = "a full disk ends acknowledgements: lower storage.log_bytes or limits.plugin_compiled_bytes, or make room";
    found.but(
        level,
        advice,
        format!("df -h {}", machine.data.path.display()),
    )
}

fn file_system(machine: &Machine, config: &Config) -> Finding {
    let Some(kind) = machine.data.file_system.as_deref() else {
        return unknown("file system");
    };
    let found = ok("file system", kind.to_owned());
    let keeps = config.storage.durability != Durability::None;
    if keeps && VOLATILE.contains(&kind) {
        let advice = "what is acknowledged is lost with the machine: put data_dir on a disk";
        return found.but(Level::Warn, advice, "findmnt -T .");
    }
    match REMOTE.contains(&kind) {
        true => found.but(
            Level::Warn,
            "locks and syncs are what another machine says of them: put data_dir on a disk of this one",
            "findmnt -T .",
        ),
        false => found,
    }
}

fn sync(machine: &Machine, config: &Config) -> Finding {
    let Some(Ok((median, longest))) = &machine.data.sync else {
        return unknown("sync");
    };
    let found = ok(
        "sync",
        format!("4 KiB and fdatasync: median {median:.1?}, longest {longest:.1?}"),
    );
    let waits = config.storage.durability == Durability::Fsync;
    match waits && *median > SLOW_SYNC {
        true => found.but(
            Level::Warn,
            "each acknowledgement of a durable message waits for one (all that wait share it): a quicker disk, or \
             storage.durability = \"os\", which a loss of power may cost messages",
            "",
        ),
        false => found,
    }
}
