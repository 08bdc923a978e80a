//! Carries out faults, and ends them.

use std::{fs, sync::Arc};

use kengine_tests::Network;
use tokio::{
    task::JoinSet,
    time::{Duration, Instant, sleep, sleep_until},
};

use crate::{
    cluster::Cluster,
    crowd::Crowd,
    plan::{Data, Fault},
};

/// Carries out a storm, and returns when all its faults have ended.
pub(crate) async fn storm(cluster: &Arc<Cluster>, crowd: &Arc<Crowd>, faults: Vec<(Duration, Fault)>) {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for (at, fault) in faults {
        let (cluster, crowd) = (Arc::clone(cluster), Arc::clone(crowd));
        tasks.spawn(async move {
            sleep_until(begun + at).await;
            carry_out(&cluster, &crowd, fault).await;
            crowd.tell(format!("  ended: {fault:?}"));
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a fault that can be carried out");
    }
}

/// Waits until nothing else disturbs the same part of the cluster, disturbs it, and ends the disturbance.
async fn carry_out(cluster: &Cluster, crowd: &Crowd, fault: Fault) {
    let tell = || crowd.tell(format!("  {fault:?}"));
    match fault {
        Fault::Kill { node, away } => {
            let mut node = cluster.nodes[node].lock().await;
            tell();
            node.kill().await;
            sleep(away).await;
            node.start();
        }
        Fault::Freeze { node, time } => {
            let node = cluster.nodes[node].lock().await;
            tell();
            node.freeze();
            sleep(time).await;
            node.thaw();
        }
        Fault::Drain { node, away } => {
            let mut node = cluster.nodes[node].lock().await;
            tell();
            node.drain().await;
            sleep(away).await;
            node.start();
        }
        Fault::Network { path, network, time } => {
            let proxy = cluster.proxies[&path].lock().await;
            tell();
            proxy.set(network);
            sleep(time).await;
            proxy.set(Network::Good);
        }
        Fault::Reset { path } => {
            let proxy = cluster.proxies[&path].lock().await;
            tell();
            proxy.reset();
        }
        Fault::RestartRedis { data, away } => restart_redis(cluster, tell, data, away).await,
        Fault::FreezeRedis { time } => {
            let redis = cluster.redis.lock().await;
            tell();
            redis.freeze();
            sleep(time).await;
            redis.thaw();
        }
        Fault::Flush => {
            let redis = cluster.redis.lock().await;
            tell();
            let flushed = redis::cmd("FLUSHALL").exec_async(&mut redis.connection().await).await;
            flushed.expect("a Redis that answers");
        }
        Fault::ReloadGateway => {
            let gateway = cluster.gateway.lock().await;
            tell();
            gateway.reload();
        }
        Fault::RestartGateway { away } => {
            let mut gateway = cluster.gateway.lock().await;
            tell();
            gateway.stop();
            sleep(away).await;
            gateway.restart().await;
        }
    }
}

async fn restart_redis(cluster: &Cluster, tell: impl Fn(), data: Data, away: Duration) {
    let mut redis = cluster.redis.lock().await;
    tell();
    let save = async |pause| {
        redis::cmd("SAVE").exec_async(&mut redis.connection().await).await.expect("a Redis that answers");
        sleep(pause).await;
    };
    match data {
        Data::Lost => {}
        Data::Kept => save(Duration::ZERO).await,
        Data::Old(age) => save(age).await,
    }
    redis.kill();
    sleep(away).await;
    redis.restart().await;
    // The next restart may be one that loses everything.
    let _ = fs::remove_file(cluster.snapshot());
}
