use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use loom::thread;

use crate::node_state::bucket::RateLimit;
use crate::node_state::client_addresses::{ClientAddress, ClientAddresses};
use crate::node_state::clock::Clock;
use crate::node_state::limits::AddressLimits;
use crate::node_state::sync::atomic::{AtomicUsize, Ordering};
use crate::node_state::sync::model::explore;

/// An address never has more sockets than it may have, the counts never fall below zero (which would panic), and an
/// address without sockets is forgotten.
#[test]
fn the_counts_of_an_address_hold() {
    explore("client addresses", || {
        let limits = AddressLimits {
            max_pending_handshakes: 2,
            max_handshakes_per_second: RateLimit::new(u32::MAX, 1),
            max_connections: 1,
        };
        let addresses = Arc::new(ClientAddresses::new(limits, Clock::start()));
        let (pending, connected) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let client = {
            let (addresses, pending, connected) =
                (Arc::clone(&addresses), Arc::clone(&pending), Arc::clone(&connected));
            move || {
                let ada = ClientAddress::from(IpAddr::from(Ipv4Addr::LOCALHOST));
                if addresses.begin(ada).is_err() {
                    return;
                }
                assert!(pending.fetch_add(1, Ordering::Relaxed) < 2);
                let is_connected = addresses.connect(ada, false).is_ok();
                if is_connected {
                    assert_eq!(connected.fetch_add(1, Ordering::Relaxed), 0);
                }
                pending.fetch_sub(1, Ordering::Relaxed);
                addresses.end_handshake(ada, is_connected);
                if is_connected {
                    connected.fetch_sub(1, Ordering::Relaxed);
                    addresses.disconnect(ada);
                }
            }
        };
        let clients = [thread::spawn(client.clone()), thread::spawn(client.clone())];
        client();
        clients.into_iter().for_each(|client| _ = client.join().unwrap());
        assert_eq!(addresses.len(), 0);
    });
}
