//! What must be true whenever nothing has disturbed the cluster for a while.

use std::{collections::BTreeMap, time::Duration};

use kengine_tests::NodeReport;
use tokio::time::{Instant, sleep};

use crate::{
    cluster::Cluster,
    crowd::{Crowd, Known, Mode, PLAYERS, ROOMS},
};

/// How long the cluster may take until everything is right again. It needs a few seconds; a slow machine needs more.
const SETTLE_TIME: Duration = Duration::from_secs(120);
/// How long players play undisturbed between two storms.
const UNDISTURBED_TIME: Duration = Duration::from_secs(3);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Calls `look` until it finds nothing wrong; panics with what it found last after [`SETTLE_TIME`].
pub(crate) async fn settled(what: &str, mut look: impl AsyncFnMut() -> Result<(), String>) {
    let begun = Instant::now();
    let mut before = String::new();
    loop {
        let Err(wrong) = look().await else { return };
        if begun.elapsed() > SETTLE_TIME / 6 && wrong != before {
            eprintln!("         not yet: {wrong}");
            before.clone_from(&wrong);
        }
        assert!(begun.elapsed() < SETTLE_TIME, "{what} for {SETTLE_TIME:?}: {wrong}");
        sleep(PAUSE).await;
    }
}

/// Waits until everything is right. Then lets players play for a while undisturbed, in which nobody may be cut off or
/// be left without an answer. Finally, each player says something in each room, which all other members must hear.
pub(crate) async fn verify(cluster: &Cluster, crowd: &Crowd, round: u32) {
    crowd.mode.send_replace(Mode::Stay);
    let begun = Instant::now();
    settled("the cluster was not right", async || all_right(cluster, crowd).await).await;
    crowd.tell(format!("right after {:.1} s", begun.elapsed().as_secs_f64()));
    let at_first = crowd.known();
    crowd.mode.send_replace(Mode::Play);
    sleep(UNDISTURBED_TIME).await;
    crowd.mode.send_replace(Mode::Stay);
    settled("the cluster was not right any more", async || all_right(cluster, crowd).await).await;
    let members = crowd.known();
    crowd.mode.send_replace(Mode::Probe(round));
    settled("players did not hear each other", async || all_heard(&members, &crowd.known(), round)).await;
    settled("the cluster was not right after all", async || all_right(cluster, crowd).await).await;
    for (player, (before, after)) in at_first.iter().zip(crowd.known()).enumerate() {
        if before.cuts != after.cuts {
            crowd.wrong(format!("{} was cut off while nothing was disturbed", Crowd::uid(player)));
        }
    }
    crowd.check();
}

/// Checks that each member of each room has heard every other member.
fn all_heard(members: &[Known], known: &[Known], round: u32) -> Result<(), String> {
    for (player, listener) in members.iter().enumerate() {
        for room in &listener.rooms {
            for (other, speaker) in members.iter().enumerate() {
                let must_hear = other != player && speaker.rooms.contains(room);
                if must_hear && !known[player].heard.contains(&(round, other, *room)) {
                    let [listener, speaker] = [player, other].map(Crowd::uid);
                    return Err(format!("{listener} did not hear {speaker} in {}", Crowd::room(*room)));
                }
            }
        }
    }
    Ok(())
}

/// Checks that players, nodes and the directory agree.
async fn all_right(cluster: &Cluster, crowd: &Crowd) -> Result<(), String> {
    let known = crowd.known();
    for (player, known) in known.iter().enumerate() {
        let uid = Crowd::uid(player);
        if known.process.is_none() {
            return Err(format!("{uid} is not connected"));
        }
        if known.unanswered > 0 {
            let (active, awaits) = (known.active.map(|at| at.elapsed()), &known.awaits);
            return Err(format!("{uid}, active {active:?} ago, has {} open: {awaits:?}", known.unanswered));
        }
        if known.older > 0 {
            return Err(format!("{} older connections of {uid} are open", known.older));
        }
    }
    let rooms: Vec<_> = (0..ROOMS).map(Crowd::room).collect();
    let mut on_node = BTreeMap::new();
    for (node, address) in cluster.nodes.iter().zip(&cluster.advertised) {
        let mut node = node.lock().await;
        if !node.is_here() {
            continue;
        }
        let report = node.report(&rooms).await?;
        rooms_are_right(&known, &report).map_err(|wrong| format!("node {address} says: {wrong}"))?;
        let players = known.iter().filter(|known| known.process == Some(node.pid())).count();
        if report.connections != players {
            return Err(format!("node {address} has {} connections of {players} players", report.connections));
        }
        on_node.insert(node.pid(), (address.to_string(), players));
    }
    directory_is_right(cluster, &known, &on_node).await
}

/// Checks that a node knows exactly the members of each room.
fn rooms_are_right(known: &[Known], report: &NodeReport) -> Result<(), String> {
    for room in 0..ROOMS {
        let name = Crowd::room(room);
        let inside = (0..PLAYERS).filter(|player| known[*player].rooms.contains(&room));
        let mut uids: Vec<_> = inside.map(Crowd::uid).collect();
        uids.sort();
        match &report.members[&name] {
            None => return Err(format!("a node did not say who is in {name}")),
            Some(members) if *members != uids => return Err(format!("{members:?} are in {name}, and not {uids:?}")),
            Some(_) => {}
        }
    }
    Ok(())
}

/// Checks that the directory lists each node with its load, and each player with its node.
async fn directory_is_right(
    cluster: &Cluster,
    known: &[Known],
    on_node: &BTreeMap<u32, (String, usize)>,
) -> Result<(), String> {
    let mut directory = cluster.directory().await;
    let mut listed = directory.listed().await;
    listed.sort();
    let mut addresses: Vec<_> = on_node.values().map(|(address, _)| address.clone()).collect();
    addresses.sort();
    if listed != addresses {
        return Err(format!("{listed:?} are listed, and not {addresses:?}"));
    }
    for address in cluster.advertised.iter().map(ToString::to_string).filter(|address| !addresses.contains(address)) {
        let (count, load) = (directory.count(&address).await, directory.load(&address).await);
        if (count, load) != (None, None) {
            return Err(format!("node {address}, which is gone, has the count {count:?} and the load {load:?}"));
        }
    }
    for (address, players) in on_node.values() {
        let (count, load) = (directory.count(address).await, directory.load(address).await);
        if (count, load) != (Some(*players), Some(*players)) {
            return Err(format!("node {address} with {players} players has the count {count:?} and the load {load:?}"));
        }
    }
    for (player, known) in known.iter().enumerate() {
        let Some((address, _)) = known.process.and_then(|process| on_node.get(&process)) else {
            return Err(format!("{} is served by an unknown process", Crowd::uid(player)));
        };
        let claimed = directory.user(&Crowd::uid(player)).await;
        if claimed.as_ref() != Some(address) {
            return Err(format!("{} is on {address}, and not on {claimed:?}", Crowd::uid(player)));
        }
    }
    Ok(())
}
