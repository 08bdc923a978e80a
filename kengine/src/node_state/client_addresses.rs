//! The limits of each client address: pending handshakes, handshakes per second, and connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU64;

use crate::node_state::bucket::{Bucket, Sent};
use crate::node_state::clock::Clock;
use crate::node_state::limits::AddressLimits;
use crate::node_state::refusals::Limit;
use crate::node_state::sharded::{Sharded, shrunk_capacity};

/// How many addresses without a socket a shard remembers, because of their handshakes per second. It forgets some when
/// there are twice as many.
const MAX_IDLE: usize = 2048;
/// The number of addresses in a shard below which it is not searched for addresses to forget.
const MIN_SWEEP: usize = 64;

/// What counts as one client: an IPv4 address, even in IPv6 notation, or the /64 network of an IPv6 address, because a
/// client can use every address of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientAddress(NonZeroU64);

impl From<IpAddr> for ClientAddress {
    fn from(ip: IpAddr) -> Self {
        let bits = match ip.to_canonical() {
            // No client has an IPv6 address in 0:ffff::/32, which is reserved (RFC 4291, section 2.4).
            IpAddr::V4(ip) => 0xffff << 32 | u64::from(ip.to_bits()),
            IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
        };
        // The network ::/64 has the same bits as ::1:0:0:0/64, which is reserved too.
        Self(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }
}

/// What is counted for each client address.
///
/// An address is forgotten when it has no socket and its handshakes no longer count. So there are never more addresses
/// than there were sockets at one time, plus 65,536.
#[derive(Debug)]
pub(crate) struct ClientAddresses {
    shards: Sharded<Shard>,
    limits: AddressLimits,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Shard {
    counts: HashMap<ClientAddress, AddressCounts>,
    /// The number of addresses at which the shard is searched for addresses to forget.
    sweep_at: usize,
}

#[derive(Debug, Default)]
struct AddressCounts {
    handshakes: Bucket,
    pending: u32,
    connections: u32,
}

impl AddressCounts {
    fn has_socket(&self) -> bool {
        self.pending > 0 || self.connections > 0
    }

    /// Counts a handshake. Returns whether the limit allows it.
    fn add_handshake(&mut self, limits: AddressLimits, now: u64) -> bool {
        self.handshakes.add(limits.max_handshakes_per_second, Sent::at(now))
    }
}

impl ClientAddresses {
    pub(crate) fn new(limits: AddressLimits, clock: Clock) -> Self {
        Self { shards: Sharded::default(), limits, clock }
    }

    /// Counts a socket whose handshake begins.
    ///
    /// # Errors
    ///
    /// The limit that the address has reached.
    pub(crate) fn begin(&self, address: ClientAddress) -> Result<(), Limit> {
        self.update(address, |counts, now| {
            if reached(counts.pending, self.limits.max_pending_handshakes) {
                return Err(Limit::PendingHandshakesPerAddress);
            }
            // It is counted later.
            if !counts.handshakes.allows(self.limits.max_handshakes_per_second, Sent::at(now)) {
                return Err(Limit::HandshakesPerSecondPerAddress);
            }
            counts.pending += 1;
            Ok(())
        })
    }

    /// Removes a socket whose handshake is over. It counts as a handshake if it has sent no request, because requests
    /// are counted by [`request`](Self::request).
    pub(crate) fn end_handshake(&self, address: ClientAddress, has_requested: bool) {
        self.update(address, |counts, now| {
            counts.pending -= 1;
            if !has_requested {
                counts.add_handshake(self.limits, now);
            }
        });
    }

    /// Counts a request to open a connection.
    ///
    /// # Errors
    ///
    /// The limit that the address has reached.
    pub(crate) fn request(&self, address: ClientAddress) -> Result<(), Limit> {
        self.update(address, |counts, now| {
            if counts.add_handshake(self.limits, now) { Ok(()) } else { Err(Limit::HandshakesPerSecondPerAddress) }
        })
    }

    /// Counts a connection. That of a client that comes back to its session (`is_back`) may exceed the limit, which is
    /// returned then.
    ///
    /// # Errors
    ///
    /// The limit that the address has reached.
    pub(crate) fn connect(&self, address: ClientAddress, is_back: bool) -> Result<Option<Limit>, Limit> {
        self.update(address, |counts, _| {
            let is_full = reached(counts.connections, self.limits.max_connections);
            if is_full && (!is_back || counts.connections == u32::MAX) {
                return Err(Limit::ConnectionsPerAddress);
            }
            counts.connections += 1;
            Ok(is_full.then_some(Limit::ConnectionsPerAddress))
        })
    }

    /// Removes a connection.
    pub(crate) fn disconnect(&self, address: ClientAddress) {
        self.update(address, |counts, _| counts.connections -= 1);
    }

    /// Returns the number of addresses that are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().counts.len()).sum()
    }

    /// Changes the counts of an address, and forgets it if nothing is left to count. The function gets the time
    /// of the node's clock.
    fn update<T>(&self, address: ClientAddress, change: impl FnOnce(&mut AddressCounts, u64) -> T) -> T {
        let now = self.clock.now();
        let mut shard = self.shards.of(&address).write();
        let shard = &mut *shard;
        let counts = shard.counts.entry(address).or_default();
        let result = change(counts, now);
        if !counts.has_socket() && counts.handshakes.is_empty(now) {
            shard.counts.remove(&address);
            if let Some(capacity) = shrunk_capacity(shard.counts.len(), shard.counts.capacity()) {
                shard.counts.shrink_to(capacity);
            }
        } else if shard.counts.len() > shard.sweep_at {
            shard.sweep(now);
        }
        result
    }
}

impl Shard {
    /// Forgets the addresses without a socket whose handshakes no longer count; and, if too many are left, the half of
    /// them whose handshakes would be the first not to count.
    fn sweep(&mut self, now: u64) {
        self.counts.retain(|_, counts| counts.has_socket() || !counts.handshakes.is_empty(now));
        let mut idle: Vec<_> = self
            .counts
            .values()
            .filter(|counts| !counts.has_socket())
            .map(|counts| counts.handshakes.empty_at())
            .collect();
        if idle.len() > MAX_IDLE {
            let middle = idle.len() / 2;
            let median = *idle.select_nth_unstable(middle).1;
            self.counts.retain(|_, counts| counts.has_socket() || !counts.handshakes.is_empty(median));
        }
        let len = self.counts.len();
        if let Some(capacity) = shrunk_capacity(len, self.counts.capacity()) {
            self.counts.shrink_to(capacity);
        }
        self.sweep_at = len + len.clamp(MIN_SWEEP, MAX_IDLE);
    }
}

/// Returns whether a count has reached its limit.
fn reached(count: u32, limit: usize) -> bool {
    usize::try_from(count).map_or(true, |count| count >= limit) || count == u32::MAX
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::node_state::bucket::RateLimit;

    fn addresses(rate: u32, burst: u32) -> ClientAddresses {
        let max_handshakes_per_second = RateLimit::new(rate, burst);
        let limits = AddressLimits { max_handshakes_per_second, ..AddressLimits::default() };
        ClientAddresses::new(limits, Clock::start())
    }

    /// Requests a connection, and opens it.
    fn open(addresses: &ClientAddresses, address: ClientAddress) -> Result<(), Limit> {
        addresses.request(address)?;
        addresses.connect(address, false).map(drop)
    }

    fn address(ip: &str) -> ClientAddress {
        ip.parse::<IpAddr>().unwrap().into()
    }

    fn numbered(number: u32) -> ClientAddress {
        IpAddr::from(number.to_be_bytes()).into()
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        for (one, other, is_same) in [
            ("203.0.113.7", "::ffff:203.0.113.7", true),
            ("203.0.113.7", "203.0.113.8", false),
            ("2001:db8:0:1::1", "2001:db8:0:1:2:3:4:5", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("::ffff:203.0.113.7", "::ffff:203.0.113.8", false),
            ("0.0.0.0", "::", false),
            ("127.0.0.1", "::1", false),
            ("0:ffff:cb00:7107::1", "64:ff9b::203.0.113.7", false),
        ] {
            assert_eq!(address(one) == address(other), is_same, "{one} and {other}");
        }
        assert_eq!(size_of::<Option<ClientAddress>>(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_forgotten_when_nothing_counts() {
        let addresses = addresses(20, 100);
        let ada = address("203.0.113.7");
        addresses.begin(ada).unwrap();
        open(&addresses, ada).unwrap();
        addresses.end_handshake(ada, true);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(addresses.len(), 1, "it has a connection");
        addresses.disconnect(ada);
        assert_eq!(addresses.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_without_a_request_counts_as_a_handshake() {
        let addresses = addresses(1, 3);
        let ada = address("203.0.113.7");
        for _ in 0..3 {
            addresses.begin(ada).unwrap();
            addresses.end_handshake(ada, false);
        }
        assert_eq!(addresses.begin(ada), Err(Limit::HandshakesPerSecondPerAddress));
        assert_eq!(open(&addresses, ada), Err(Limit::HandshakesPerSecondPerAddress));
        tokio::time::advance(Duration::from_secs(1)).await;
        addresses.begin(ada).unwrap();
        open(&addresses, ada).unwrap();
        assert_eq!(open(&addresses, ada), Err(Limit::HandshakesPerSecondPerAddress));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_addresses_is_bounded_and_forgets_no_socket() {
        // The handshakes count for longer than the flood lasts.
        let addresses = addresses(1, 1000);
        let connected = address("203.0.113.7");
        open(&addresses, connected).unwrap();
        for number in 0..200_000 {
            open(&addresses, numbered(number)).unwrap();
            addresses.disconnect(numbered(number));
            if number % 1000 == 0 {
                tokio::time::advance(Duration::from_micros(1)).await;
            }
        }
        let remembered = addresses.len();
        assert!((1024 * 16..=4096 * 16 + 1).contains(&remembered), "{remembered}");
        addresses.disconnect(connected);
        // Later, the flood no longer counts. So many others follow that each shard is searched.
        tokio::time::advance(Duration::from_secs(10)).await;
        let now = addresses.clock.now();
        for number in 200_000..400_000 {
            open(&addresses, numbered(number)).unwrap();
            addresses.disconnect(numbered(number));
        }
        let counts_no_longer =
            |shard: &Shard| shard.counts.values().filter(|counts| counts.handshakes.is_empty(now)).count();
        assert_eq!(addresses.shards.iter().map(|shard| counts_no_longer(&shard.read())).sum::<usize>(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_addresses_does_not_clear_the_address_with_most_handshakes() {
        let addresses = addresses(1, 1000);
        let busy = address("203.0.113.7");
        let connect = |address| open(&addresses, address).map(|()| addresses.disconnect(address));
        while connect(busy).is_ok() {}
        (0..200_000).for_each(|number| connect(numbered(number)).unwrap());
        assert_eq!(connect(busy), Err(Limit::HandshakesPerSecondPerAddress));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_as_many_sockets_as_its_limits_allow() {
        let limits = AddressLimits { max_pending_handshakes: 2, max_connections: 3, ..AddressLimits::default() };
        let addresses = ClientAddresses::new(limits, Clock::start());
        let ada = address("203.0.113.7");
        (0..2).for_each(|_| addresses.begin(ada).unwrap());
        assert_eq!(addresses.begin(ada), Err(Limit::PendingHandshakesPerAddress));
        (0..3).for_each(|_| open(&addresses, ada).unwrap());
        assert_eq!(open(&addresses, ada), Err(Limit::ConnectionsPerAddress));
        addresses.disconnect(ada);
        open(&addresses, ada).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_thousand_connected_addresses_are_all_counted() {
        let addresses = addresses(20, 100);
        (0..100_000).for_each(|number| open(&addresses, numbered(number)).unwrap());
        assert_eq!(addresses.len(), 100_000);
        tokio::time::advance(Duration::from_secs(1)).await;
        (0..100_000).for_each(|number| addresses.disconnect(numbered(number)));
        assert_eq!(addresses.len(), 0);
    }
}
