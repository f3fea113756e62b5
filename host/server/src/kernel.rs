//! What the kernel counts that the broker cannot.
//!
//! Must not: say what it means; `tuning.md` does.

/// How often a connection found no place at a listening socket, of all programs in this network namespace. `None`: this kernel does
/// not say.
pub(crate) fn listen_overflows() -> Option<u64> {
    counted(&std::fs::read_to_string("/proc/net/netstat").ok()?)
}

/// Of the table, in which a line of names is followed by one of values.
fn counted(netstat: &str) -> Option<u64> {
    let mut lines = netstat
        .lines()
        .filter_map(|line| line.strip_prefix("TcpExt:"));
    let names = lines.next()?.split_whitespace();
    let mut both = names.zip(lines.next()?.split_whitespace());
    let (_, value) = both.find(|(name, _)| *name == "ListenOverflows")?;
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_by_its_name() {
        let table = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 23 4\nIpExt: ListenOverflows\nIpExt: 7\n";
        assert_eq!(counted(table), Some(23));
        for other in ["", "TcpExt: ListenOverflows\n", "TcpExt: A\nTcpExt: 1\n"] {
            assert_eq!(counted(other), None, "{other}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_kernel_counts_it() {
        assert!(listen_overflows().is_some());
    }
}
