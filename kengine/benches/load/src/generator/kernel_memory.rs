//! The memory of the kernel for sockets, from `/proc/slabinfo`, which only root may read.
//!
//! Both ends of each connection are on this machine, so the growth of a cache is shared among two sockets. What waits
//! in the buffers of a socket is not counted: an idle one has nothing there.

use std::collections::HashMap;
use std::fs;

/// The caches that hold an object for each end of a connection: the socket, its inode and its file.
const OF_BOTH_ENDS: [&str; 3] = ["TCP", "sock_inode_cache", "filp"];
/// The cache that holds an object for each socket in an epoll. The idle clients are in none.
const OF_THE_SERVER: &str = "eventpoll_epi";
/// The name of a socket's file. Each socket has one, but so many other files have them that its growth says nothing.
const NAMES: &str = "dentry";

const PAGE_SIZE: f64 = 4096.0;

/// The caches at one moment.
#[derive(Debug)]
pub struct KernelMemory(HashMap<String, Cache>);

#[derive(Debug)]
struct Cache {
    objects: f64,
    /// The bytes that one object takes, with its share of what its pages leave unused.
    object_size: f64,
}

impl KernelMemory {
    /// Reads the caches, if this process may.
    pub fn read() -> Option<Self> {
        Some(Self::parse(&fs::read_to_string("/proc/slabinfo").ok()?))
    }

    fn parse(slabinfo: &str) -> Self {
        // <name> <active objects> <objects> <size of an object> <objects per slab> <pages per slab> …
        let cache = |line: &str| {
            let (name, rest) = line.split_once(' ')?;
            let mut numbers = rest.split_whitespace().map_while(|number| number.parse::<f64>().ok());
            let objects = numbers.next()?;
            let [per_slab, pages] = [numbers.nth(2)?, numbers.next()?];
            Some((name.to_owned(), Cache { objects, object_size: pages * PAGE_SIZE / per_slab }))
        };
        Self(slabinfo.lines().filter_map(cache).collect())
    }

    /// Returns what each of some connections added since then for the server's end, in bytes.
    pub fn since(&self, before: &Self, connections: usize) -> f64 {
        let growth = |cache: &str| {
            let objects = |at: &Self| at.0.get(cache).map_or(0.0, |cache| cache.objects);
            (objects(self) - objects(before)).max(0.0) * self.object_size(cache)
        };
        #[expect(clippy::cast_precision_loss, reason = "these are far fewer than 2^52")]
        let connections = connections as f64;
        let of_both_ends = OF_BOTH_ENDS.into_iter().map(growth).sum::<f64>() / 2.0;
        (of_both_ends + growth(OF_THE_SERVER)) / connections + self.object_size(NAMES)
    }

    fn object_size(&self, cache: &str) -> f64 {
        self.0.get(cache).map_or(0.0, |cache| cache.object_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables
TCP 10 13 2368 13 8 : tunables 0 0 0 : slabdata 1 1 0
eventpoll_epi 5 32 128 32 1 : tunables 0 0 0 : slabdata 1 1 0
dentry 70 84 192 16 1 : tunables 0 0 0 : slabdata 4 4 0
";

    #[test]
    fn the_growth_of_a_cache_is_shared_among_the_ends() {
        let before = KernelMemory::parse(BEFORE);
        let after = KernelMemory::parse(&BEFORE.replace("TCP 10", "TCP 30").replace("epi 5", "epi 15"));
        assert_eq!(after.since(&before, 10).round().to_string(), "2905");
    }
}
