//! Nodes: how long Redis takes for a gateway's pick and for a node's beat. The entries of the nodes are written by the
//! scripts that real nodes use; nothing else of a node is there.

use std::io::{self, Error};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, iter, slice, thread};

use super::curve::{Curve, Header, Scale};
use super::redis_client::RedisClient;
use super::{Bench, Measured};
use crate::process::Server;

const NODES: [usize; 5] = [1, 3, 10, 30, 100];
/// How many picks a gateway sends in one write.
const BATCH: usize = 64;
/// How many batches go by before the nodes have redeemed the reservations: some 25 ms at the highest rate.
const REDEEMED_AFTER: usize = 16;
/// How long Redis may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Long enough that nothing expires.
const LEASE_MS: &str = "3600000";

const JOIN: &str = include_str!("../../../../src/cluster/redis/scripts/join.lua");
const BEAT: &str = include_str!("../../../../src/cluster/redis/scripts/beat.lua");
const PICK: &str = include_str!("../../../../openresty/pick.lua");
/// The key of the versions of the cluster.
const VERSIONS: &str = "{kengine}:versions";

const TIME: Header = Header {
    name: "nodes",
    title: "Redis among many nodes",
    x: "nodes",
    scale: Scale::Linear,
    y: "µs of Redis",
    lines: &[
        "CPU per pick of the node with the least load",
        "time of its script, by INFO commandstats",
        "CPU per pick of the node of the room",
        "CPU per beat of a node",
    ],
};

pub fn measure(bench: &Bench<'_>) -> io::Result<Measured> {
    let curve = Curve::measure(TIME, bench.rounds(), &NODES, |nodes| {
        let mut cluster = Cluster::start(bench, nodes)?;
        let (pick, script) = cluster.picks("")?;
        let (to_room, _) = cluster.picks(&address(0))?;
        Ok([Some(pick), Some(script), Some(to_room), Some(cluster.beats()?)])
    })?;
    Ok((vec![curve], Vec::new()))
}

/// A Redis with the entries of some nodes.
struct Cluster {
    redis: Server,
    client: RedisClient,
    nodes: usize,
    /// The hashes of the scripts.
    beat: String,
    pick: String,
    measured: Duration,
}

impl Cluster {
    fn start(bench: &Bench<'_>, nodes: usize) -> io::Result<Self> {
        let socket = bench.out.join("redis.sock");
        // A socket of an earlier run may be there.
        let _ = fs::remove_file(&socket);
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket);
        let redis = Server::start_silent(command.stdout(Stdio::null()))?;
        let begun = Instant::now();
        let mut client = loop {
            match RedisClient::connect(&socket) {
                Ok(client) => break client,
                Err(error) if begun.elapsed() > START_TIMEOUT => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        };
        let [join, beat, pick] = [JOIN, BEAT, PICK].map(|script| client.run(&[command_of(["SCRIPT", "LOAD", script])]));
        let (join, beat, pick) = (join?, beat?, pick?);
        for node in 0..nodes {
            let [address, load, lease, entry, reserved] = keys(node);
            let keys = ["NODE_HOST_LIST", &address, &load, &lease, &entry, &reserved, VERSIONS];
            let arguments = [&*address, &boot(node), "0", LEASE_MS, "ready", "1000000000", "1.0.0", "0"];
            client.run(&[call(&join, &keys, &arguments)])?;
        }
        Ok(Self { redis, client, nodes, beat, pick, measured: bench.period().measured })
    }

    /// Returns the CPU of Redis per pick, and what the script takes of it, in µs. `room` is the node of the room, if
    /// any.
    fn picks(&mut self, room: &str) -> io::Result<(f64, f64)> {
        let redeem: Vec<String> =
            iter::once("DEL".to_owned()).chain((0..self.nodes).map(|node| keys(node)[4].clone())).collect();
        let pick = self.pick.clone();
        let mut number = 0;
        self.repeat(|client| {
            let batch: Vec<_> = (0..BATCH)
                .map(|_| {
                    number += 1;
                    let [_, load, lease, ..] = keys(0);
                    call(&pick, &[&load, &lease, VERSIONS], &[&format!("{number:032x}"), "5000", "", "", "", room])
                })
                .collect();
            client.run(&batch)?;
            if number % (BATCH * REDEEMED_AFTER) == 0 {
                client.run(slice::from_ref(&redeem))?;
            }
            Ok(BATCH)
        })
    }

    /// Returns the CPU of Redis per beat, in µs. Each beat has a write of its own, as those of real nodes.
    fn beats(&mut self) -> io::Result<f64> {
        let (beat, nodes) = (self.beat.clone(), self.nodes);
        let mut number = 0;
        let (cpu, _) = self.repeat(|client| {
            let node = number % nodes;
            number += 1;
            let [address, load, lease, entry, reserved] = keys(node);
            let arguments = [&*address, &boot(node), "1000", LEASE_MS, "100", "1000", "0"];
            client.run(&[call(&beat, &[&address, &load, &lease, &entry, &reserved], &arguments)])?;
            Ok(1)
        })?;
        Ok(cpu)
    }

    /// Repeats calls of a script. Returns the CPU of Redis per call, and the time of the script, in µs.
    fn repeat(&mut self, mut calls: impl FnMut(&mut RedisClient) -> io::Result<usize>) -> io::Result<(f64, f64)> {
        calls(&mut self.client)?;
        self.client.run(&[command_of(["CONFIG", "RESETSTAT"])])?;
        let (begun, before, mut done) = (Instant::now(), self.redis.cpu()?, 0);
        while begun.elapsed() < self.measured {
            done += calls(&mut self.client)?;
        }
        let cpu = self.redis.cpu()?.saturating_sub(before);
        let statistics = self.client.run(&[command_of(["INFO", "commandstats"])])?;
        let of_script = statistics.lines().find(|line| line.starts_with("cmdstat_evalsha:"));
        let time = of_script.and_then(|line| line.split(',').find_map(|field| field.strip_prefix("usec_per_call=")));
        let time =
            time.and_then(|time| time.parse().ok()).ok_or_else(|| Error::other("Redis has no time of EVALSHA"))?;
        #[expect(clippy::cast_precision_loss, reason = "these are far fewer than 2^52")]
        let calls = done as f64;
        Ok((cpu.as_secs_f64() * 1e6 / calls, time))
    }
}

fn address(node: usize) -> String {
    format!("10.0.{}.{}:8000", node / 250, node % 250)
}

/// The boot id of a node.
fn boot(node: usize) -> String {
    format!("{node:016x}")
}

/// The keys of a node and its cluster: its counter, the loads, the leases, its entry and its reservations.
fn keys(node: usize) -> [String; 5] {
    let address = address(node);
    let [entry, reserved] = ["node", "reserved"].map(|key| format!("{{kengine}}:{key}:{address}"));
    [address, "{kengine}:load".to_owned(), "{kengine}:lease".to_owned(), entry, reserved]
}

fn call(script: &str, keys: &[&str], arguments: &[&str]) -> Vec<String> {
    let count = keys.len().to_string();
    command_of(["EVALSHA", script, &count].iter().chain(keys).chain(arguments).copied())
}

fn command_of<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    words.into_iter().map(str::to_owned).collect()
}
