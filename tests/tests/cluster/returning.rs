//! Players who come back while their old sockets hang, on the nodes of a cluster in Redis.

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use kengine::{Close, CloseCode, cluster::Redis};
use kengine_tests::{ClientFrame, Dice, Hall, RawClient, RedisServer, TestServer, heavy_test, until};

const LEASE: Duration = Duration::from_secs(6);

/// A node of the cluster, and its game.
struct Node {
    hall: Hall,
    server: TestServer,
}

impl Node {
    async fn start(redis: &RedisServer) -> Self {
        let hall = Hall::default();
        let server = hall.server().cluster(Redis::new(redis.url()).lease(LEASE));
        Self { server: redis.serve(server).await, hall }
    }

    async fn enter(&self, uid: &str) -> RawClient {
        Hall::enter(self.server.address(), uid).await
    }

    fn is_here(&self, uid: &str) -> bool {
        self.server.hub().user(uid).is_here()
    }

    /// Returns the room and the players of each match on this node.
    async fn matches(&self) -> Vec<(String, Vec<String>)> {
        let hub = self.server.hub();
        let mut matches = Vec::new();
        for room in hub.rooms("match-").local_list() {
            let members = hub.room(&*room.name).local().members().await;
            let uids: Vec<_> = members.iter().map(|member| member.uid.to_string()).collect();
            matches.push((room.name, uids));
        }
        matches
    }
}

#[tokio::test]
async fn a_player_comes_back_to_the_same_node_and_to_another_one() {
    const REPLACED: &str = "close ada: replaced by a newer connection";
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let (one, other) = (Node::start(&redis).await, Node::start(&redis).await);
    let mut first = one.enter("ada").await;
    let room = first.ask(Hall::request("play")).await;
    assert_eq!(first.ask(Hall::request("score")).await, "1: 1");
    directory.user_is("ada", Some(one.server.address().to_string())).await;

    // From here on, the first client hangs, and each one after it when the next one comes.
    let mut second = one.enter("ada").await;
    assert_eq!(one.hall.notes(), ["open ada", REPLACED, "open ada"]);
    assert_eq!(second.ask(Hall::request("play")).await, room);
    assert_eq!(second.ask(Hall::request("score")).await, "1: 2");

    let mut third = other.enter("ada").await;
    assert_eq!(one.hall.noted(1).await, [REPLACED]);
    assert_eq!(other.hall.notes(), ["open ada"]);
    assert!(!one.is_here("ada") && other.is_here("ada"));
    assert_eq!((one.matches().await.len(), one.server.hub().connections()), (0, 2));
    assert_eq!(third.ask(Hall::request("play")).await, room, "the seat was not kept for her on the other node");
    let players = other.matches().await.into_iter().map(|(_, players)| players);
    assert_eq!(players.collect::<Vec<_>>(), [["ada"]]);

    let mut fourth = one.enter("ada").await;
    assert_eq!(other.hall.noted(1).await, [REPLACED]);
    assert_eq!(one.hall.notes(), ["open ada"]);
    assert_eq!(fourth.ask(Hall::request("play")).await, room);
    assert_eq!(fourth.ask(Hall::request("score")).await, "1: 1", "the score was kept after its player had gone");
    assert!(one.is_here("ada") && !other.is_here("ada"));
    directory.user_is("ada", Some(one.server.address().to_string())).await;
    for client in [&mut first, &mut second, &mut third] {
        assert_eq!(client.frame().await, "close 4500");
        client.answer_close(4500).await;
    }
    assert_eq!(fourth.ask(Hall::request("score")).await, "1: 2", "the end of an old socket took something");
    drop(fourth);
    one.server.stop().await;
    other.server.stop().await;
}

/// Returns how many rounds of random events there are: `KENGINE_RETURN_ROUNDS`, or 60.
fn rounds() -> usize {
    std::env::var("KENGINE_RETURN_ROUNDS").map_or(60, |rounds| rounds.parse().expect("a number"))
}

/// A user, whose old clients hang.
struct User {
    uid: String,
    dice: Dice,
    /// The node and the client of the connection that has the uid.
    here: Option<(usize, RawClient)>,
    hung: Vec<RawClient>,
}

impl User {
    /// Comes back, is kicked or goes. When this returns, all nodes know.
    async fn act(&mut self, nodes: &[Node]) {
        match self.dice.roll(8) {
            0 if self.here.is_some() => {
                let by = self.dice.roll(nodes.len());
                nodes[by].server.hub().user(&*self.uid).kick(Close::from(CloseCode::KICKED));
                self.hang();
            }
            1 if self.here.is_some() => self.here = None,
            _ => self.come_back(nodes).await,
        }
        let at = self.here.as_ref().map(|(node, _)| *node);
        let settled = async || {
            for (number, node) in nodes.iter().enumerate() {
                // A connection that was just told to end may be in its rooms for a moment.
                let plays = node.matches().await.iter().any(|(_, players)| players.contains(&self.uid));
                let is_right =
                    if at == Some(number) { node.is_here(&self.uid) } else { !node.is_here(&self.uid) && !plays };
                if !is_right {
                    return None;
                }
            }
            Some(())
        };
        until(&format!("{} at {at:?}", self.uid), settled).await;
    }

    fn hang(&mut self) {
        self.hung.extend(self.here.take().map(|(_, client)| client));
        if self.hung.len() > 3 {
            self.hung.remove(0);
        }
    }

    /// Connects up to three times in a row to the same node, and takes a seat.
    async fn come_back(&mut self, nodes: &[Node]) {
        let node = self.dice.roll(nodes.len());
        let address = nodes[node].server.address();
        for _ in 0..self.dice.roll(3) {
            self.hang();
            let mut client = Hall::connect(address, &self.uid).await;
            // The answer shows that the connection has the uid, although `#[open]` may not have run.
            client.send_frames([ClientFrame::ping("here")]).await;
            assert_eq!(client.frame().await, "pong \"here\"", "{}", self.uid);
            self.here = Some((node, client));
        }
        self.hang();
        let mut client = Hall::enter(address, &self.uid).await;
        if self.dice.roll(8) > 0 {
            let room = client.ask(Hall::request("play")).await;
            assert!(room.starts_with("1: \"match-"), "{}: {room}", self.uid);
        }
        self.here = Some((node, client));
    }
}

/// No room of the cluster has more players than seats, and no user is in two rooms or on two nodes. Nobody moves
/// meanwhile.
async fn check_seats(nodes: &[Node], round: usize) {
    let mut matches = HashMap::<_, Vec<_>>::new();
    for node in nodes {
        for (room, players) in node.matches().await {
            matches.entry(room).or_default().extend(players);
        }
    }
    for (room, players) in &matches {
        assert!(players.len() <= Hall::MATCH, "round {round}, {room}: {players:?}");
    }
    let mut players: Vec<_> = matches.values().flatten().collect();
    let seats = players.len();
    players.sort();
    players.dedup();
    assert_eq!(players.len(), seats, "round {round}: {matches:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_one_seat_whatever_happens() {
    const USERS: usize = 30;
    let _heavy = heavy_test().await;
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let nodes = [Node::start(&redis).await, Node::start(&redis).await, Node::start(&redis).await];
    let mut dice = Dice::new(15);
    let mut users: Vec<_> = (0..USERS)
        .map(|number| User {
            uid: format!("user-{number}"),
            dice: Dice::new(u64::try_from(number).expect("a small number")),
            here: None,
            hung: Vec::new(),
        })
        .collect();
    let mut hooks: HashMap<(usize, String), Vec<String>> = HashMap::new();
    for round in 0..rounds() {
        users.rotate_left(dice.roll(USERS));
        let actors = 1 + dice.roll(8);
        join_all(users[..actors].iter_mut().map(|user| user.act(&nodes))).await;
        check_seats(&nodes, round).await;
    }
    for user in &users {
        let at = user.here.as_ref().map(|(node, _)| nodes[*node].server.address().to_string());
        directory.user_is(&user.uid, at).await;
    }
    drop(users);
    for (number, node) in nodes.iter().enumerate() {
        node.server.emptied().await;
        assert_eq!(node.matches().await, []);
        for note in node.hall.notes() {
            let uid = note.split([' ', ':']).nth(1).expect("the uid in the note").to_owned();
            hooks.entry((number, uid)).or_default().push(note);
        }
    }
    assert!(!hooks.is_empty());
    for ((node, uid), hooks) in hooks {
        assert_eq!(hooks.len() % 2, 0, "{uid} on node {node}: {hooks:?}");
        for pair in hooks.chunks(2) {
            let in_order = pair[0].starts_with("open") && pair[1].starts_with("close");
            assert!(in_order, "{uid} on node {node}: {hooks:?}");
        }
    }
    for node in nodes {
        node.server.stop().await;
    }
}

/// Connects, and takes a seat unless the connection ends before. Returns the client, which may have been closed.
async fn rushes_in(node: &Node, uid: &str) -> RawClient {
    let mut client = Hall::connect(node.server.address(), uid).await;
    client.send_frames([ClientFrame::text(Hall::request("play"))]).await;
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kick_during_a_return_leaves_no_seat_behind() {
    const USERS: usize = 6;
    let _heavy = heavy_test().await;
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let nodes = [Node::start(&redis).await, Node::start(&redis).await, Node::start(&redis).await];
    let mut dice = Dice::new(16);
    for round in 0..rounds() / 3 {
        let mut clients = Vec::new();
        for user in 0..USERS {
            clients.push(rushes_in(&nodes[dice.roll(3)], &format!("user-{user}")).await);
        }
        // All of them come back to two nodes at once, and are kicked from a third one meanwhile; the old clients hang.
        let plans: Vec<_> =
            (0..USERS).map(|user| (user, dice.roll(3), dice.roll(3), dice.roll(3), dice.roll(4))).collect();
        let nodes_of = &nodes;
        let returning = plans.into_iter().map(|(user, one, other, by, pause)| async move {
            let uid = format!("user-{user}");
            let kick = async {
                tokio::time::sleep(Duration::from_millis(u64::try_from(pause).expect("a small number"))).await;
                nodes_of[by].server.hub().user(&*uid).kick(Close::from(CloseCode::KICKED))
            };
            let (one, other) = (rushes_in(&nodes_of[one], &uid), rushes_in(&nodes_of[other], &uid));
            let (one, other, _) = tokio::join!(one, other, kick);
            [one, other]
        });
        clients.extend(join_all(returning).await.into_iter().flatten());
        let is_settled = async || {
            let mut playing = HashMap::<_, Vec<_>>::new();
            for (number, node) in nodes.iter().enumerate() {
                for (_, players) in node.matches().await {
                    for uid in players {
                        playing.entry(uid).or_default().push(number);
                    }
                }
            }
            let here = |uid: &str| nodes.iter().filter(|node| node.is_here(uid)).count();
            let is_right = |user| {
                let uid = format!("user-{user}");
                here(&uid) <= 1 && playing.get(&uid).map_or(0, Vec::len) == here(&uid)
            };
            (0..USERS).all(is_right).then_some(())
        };
        until(&format!("round {round}: one seat for each user who is here"), is_settled).await;
        check_seats(&nodes, round).await;
        for user in 0..USERS {
            for node in &nodes {
                node.server.hub().user(format!("user-{user}")).kick(Close::from(CloseCode::KICKED));
            }
        }
        drop(clients);
        for node in &nodes {
            node.server.emptied().await;
        }
    }
    // A seat that an older connection got after the kick is free when its time is over.
    until("no seats", async || {
        let keys = directory.keys().await;
        (!keys.iter().any(|key| key.starts_with("{kengine}:seats:"))).then_some(())
    })
    .await;
    for node in nodes {
        node.server.stop().await;
    }
}
