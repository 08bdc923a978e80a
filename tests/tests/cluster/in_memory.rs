//! Several nodes as one: rooms, users and sends to all connections across them.

use kengine::{
    Close, CloseCode, Duplicates, Server, Uid,
    cluster::Memory,
    room::{Joined, Left},
    testing::{self, Client, Served},
};
use kengine_tests::{Hall, Said, Town};

/// Two nodes that know each other.
fn nodes(duplicates: Duplicates) -> [Served<Town>; 2] {
    let cluster = Memory::new();
    [(); 2].map(|()| testing::serve(Server::new(Town).cluster(&cluster).duplicates(duplicates)))
}

async fn connect(node: &Served<Town>, uid: &str) -> Client {
    node.connect(format!("/ws?uid={uid}")).await.unwrap()
}

async fn member(node: &Served<Town>, uid: &str) -> Client {
    let mut client = connect(node, uid).await;
    client.request::<()>("join_with_presence", "lobby").await.unwrap();
    client
}

/// Returns the texts that have come so far, as they are on the wire.
async fn heard(client: &mut Client) -> Vec<String> {
    client.heartbeat().await;
    let mut heard = Vec::new();
    loop {
        let text = client.next_text().await.unwrap();
        if text == "q" {
            return heard;
        }
        heard.push(text);
    }
}

#[tokio::test]
async fn a_room_spans_several_nodes() {
    let [one, other] = nodes(Duplicates::Replace);
    let mut ada = member(&one, "ada").await;
    let mut bob = member(&other, "bob").await;
    let joined = ada.push::<Joined>().await;
    assert_eq!((&*joined.room, joined.member.uid.as_str()), ("lobby", "bob"));

    assert_eq!(ada.request::<usize>("say", &("lobby", "hello")).await.unwrap(), 0, "no other member is on this node");
    assert_eq!(bob.push::<Said>().await.0, "hello");
    for hub in [one.hub(), other.hub()] {
        let members = hub.room("lobby").members().await;
        assert_eq!(members.iter().map(|member| member.uid.as_str()).collect::<Vec<_>>(), ["ada", "bob"]);
        assert_eq!(hub.room("lobby").local().members().await.len(), 1);
    }

    let hub = one.hub();
    let bobs = Uid::new("bob").unwrap();
    hub.room("lobby").local().send(&Said("here".into())).unwrap();
    hub.room("lobby").only(&bobs).send(&Said("bob alone".into())).unwrap();
    hub.room("lobby").except(&bobs).send(&Said("not bob".into())).unwrap();
    assert_eq!(heard(&mut ada).await, [Said::text("here"), Said::text("not bob")]);
    assert_eq!(heard(&mut bob).await, [Said::text("bob alone")]);

    assert!(bob.request::<bool>("leave", "lobby").await.unwrap());
    assert_eq!(ada.push::<Left>().await.member.uid.as_str(), "bob");
    ada.request::<usize>("say", &("lobby", "gone")).await.unwrap();
    assert_eq!(heard(&mut bob).await, [""; 0]);
}

#[tokio::test]
async fn a_guard_sees_the_users_of_its_node() {
    let cluster = Memory::new();
    let [one, other] = [(); 2].map(|()| testing::serve(Hall::default().server().cluster(&cluster)));
    let mut players = Vec::new();
    for number in 0..=Hall::TABLE {
        let mut player = one.connect(format!("/ws?uid={number}")).await.unwrap();
        let seated = player.request::<()>("sit", &()).await;
        assert_eq!(seated.err().map(|error| error.code), (number == Hall::TABLE).then(|| "full".to_owned()));
        players.push(player);
    }
    let mut last = other.connect("/ws?uid=last").await.unwrap();
    last.request::<()>("sit", &()).await.expect("nobody is at the table on this node");
    assert_eq!(one.hub().room("table").members().await.len(), Hall::TABLE + 1);
}

#[tokio::test]
async fn excluding_a_connection_does_not_exclude_its_namesake() {
    let [one, other] = nodes(Duplicates::Replace);
    // Each is the first connection of its node.
    let mut ada = member(&one, "ada").await;
    let mut bob = member(&other, "bob").await;
    ada.request::<usize>("say", &("lobby", "not to me")).await.unwrap();
    assert_eq!(bob.push::<Said>().await.0, "not to me");
}

#[tokio::test]
async fn a_user_who_leaves_on_one_of_two_nodes_is_still_present() {
    let cluster = Memory::new();
    let node = |()| testing::serve(Server::new(Town).cluster(&cluster).duplicates(Duplicates::Allow));
    let [one, other, third] = [(); 3].map(node);
    let mut cy = member(&third, "cy").await;
    let mut here = member(&one, "ada").await;
    let _there = member(&other, "ada").await;
    assert!(here.request::<bool>("leave", "lobby").await.unwrap());
    // However often joins and leaves are announced, the last announcement says that she is present.
    let last = heard(&mut cy).await.pop().unwrap();
    assert!(last.starts_with(r#"{"method":"joined""#), "{last}");
    assert_eq!(third.hub().room("lobby").members().await.len(), 2);
}

#[tokio::test]
async fn other_nodes_hear_of_users_and_not_of_connections() {
    let [one, other] = nodes(Duplicates::Allow);
    let mut cy = member(&other, "cy").await;
    let mut first = member(&one, "ada").await;
    let mut second = member(&one, "ada").await;
    assert_eq!(cy.push::<Joined>().await.member.uid.as_str(), "ada");
    assert!(second.request::<bool>("leave", "lobby").await.unwrap());
    assert_eq!(heard(&mut cy).await, [""; 0], "the user has only another connection");
    assert!(first.request::<bool>("leave", "lobby").await.unwrap());
    assert_eq!(cy.push::<Left>().await.member.uid.as_str(), "ada");
    assert_eq!(heard(&mut cy).await, [""; 0]);
}

#[tokio::test]
async fn a_user_is_reached_from_every_node() {
    let [one, other] = nodes(Duplicates::Replace);
    let mut ada = connect(&one, "ada").await;
    let mut bob = connect(&other, "bob").await;
    for (hub, texts) in [(one.hub(), ["1", "2"]), (other.hub(), ["3", "4"])] {
        hub.user("ada").send(&Said(texts[0].into())).unwrap();
        hub.all().send(&Said(texts[1].into())).unwrap();
    }
    assert_eq!(heard(&mut ada).await, ["1", "2", "3", "4"].map(Said::text));
    assert_eq!(heard(&mut bob).await, ["2", "4"].map(Said::text));

    one.hub().user("bob").local().kick(Close::new(CloseCode::KICKED, "not here"));
    assert_eq!(heard(&mut bob).await, [""; 0]);
    one.hub().user("bob").kick(Close::new(CloseCode::KICKED, "be nice"));
    assert_eq!(bob.closed().await, Some(Close::new(CloseCode::KICKED, "be nice")));
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older() {
    let [one, other] = nodes(Duplicates::Replace);
    let mut older = connect(&one, "ada").await;
    let mut newer = connect(&other, "ada").await;
    let close = older.closed().await.unwrap();
    assert_eq!((close.code().get(), close.reason()), (4500, "replaced by a newer connection"));
    // The end of the older connection does not take the uid from the newer.
    one.emptied().await;
    one.hub().user("ada").send(&Said("still there?".into())).unwrap();
    assert_eq!(newer.push::<Said>().await.0, "still there?");
    drop(newer);
    other.emptied().await;
    let mut again = connect(&one, "ada").await;
    assert_eq!(heard(&mut again).await, [""; 0]);
}

#[tokio::test]
async fn with_refuse_the_older_connection_stays() {
    let [one, other] = nodes(Duplicates::Refuse);
    let mut older = connect(&one, "ada").await;
    let mut newer = connect(&other, "ada").await;
    assert_eq!(newer.closed().await.unwrap().code(), CloseCode::ALREADY_CONNECTED);
    one.hub().user("ada").send(&Said("stay".into())).unwrap();
    assert_eq!(older.push::<Said>().await.0, "stay");
}

#[tokio::test]
async fn with_allow_both_connections_stay() {
    let [one, other] = nodes(Duplicates::Allow);
    let mut here = connect(&one, "ada").await;
    let mut there = connect(&other, "ada").await;
    one.hub().user("ada").send(&Said("to both".into())).unwrap();
    assert_eq!(here.push::<Said>().await.0, "to both");
    assert_eq!(there.push::<Said>().await.0, "to both");
}

#[tokio::test]
async fn a_drained_node_is_forgotten() {
    let [one, other] = nodes(Duplicates::Replace);
    let mut ada = member(&one, "ada").await;
    let bob = member(&other, "bob").await;
    assert_eq!(ada.push::<Joined>().await.member.uid.as_str(), "bob");
    other.drain().await;
    assert_eq!(ada.push::<Left>().await.member.uid.as_str(), "bob");
    drop((bob, other));
    assert_eq!(one.hub().room("lobby").members().await.len(), 1);
    let mut bob = member(&one, "bob").await;
    ada.request::<usize>("say", &("lobby", "welcome back")).await.unwrap();
    assert_eq!(bob.push::<Said>().await.0, "welcome back");
}

#[tokio::test(start_paused = true)]
async fn a_player_comes_back_to_another_node_while_the_old_client_hangs() {
    let cluster = Memory::new();
    let nodes = [(); 2].map(|()| testing::serve(Hall::default().server().cluster(&cluster)));
    let mut first = nodes[0].connect("/ws?uid=ada").await.unwrap();
    let room: String = first.request("play", &()).await.unwrap();
    let mut hung = vec![first.hang()];
    nodes[0].dispatcher().notes();
    for turn in 1..5 {
        let (before, now) = (&nodes[(turn + 1) % 2], &nodes[turn % 2]);
        let mut again = now.connect("/ws?uid=ada").await.unwrap();
        assert_eq!(again.request::<String>("play", &()).await.unwrap(), room);
        again.request::<()>("sit", &()).await.unwrap();
        assert_eq!(again.request::<u32>("score", &()).await.unwrap(), 1, "the other node keeps the score no longer");
        assert_eq!(before.dispatcher().notes(), ["close ada: replaced by a newer connection"]);
        assert_eq!(now.dispatcher().notes(), ["open ada"]);
        assert!(!before.hub().user("ada").is_here() && now.hub().user("ada").is_here());
        assert_eq!(before.hub().rooms("").local_list(), []);
        let page = now.hub().rooms("match-").list().await.unwrap();
        assert_eq!(page.rooms.iter().map(|room| (room.members, room.taken)).collect::<Vec<_>>(), [(1, 1)]);
        hung.push(again.hang());
    }
    // Whoever was replaced learns why. The last one is still there.
    let last = hung.pop().expect("a client");
    for client in hung {
        assert_eq!(client.wake().closed().await.unwrap().code(), CloseCode::REPLACED);
    }
    assert_eq!(last.wake().request::<u32>("score", &()).await.unwrap(), 2);
    assert_eq!(nodes[0].hub().user("ada").kick(Close::from(CloseCode::KICKED)), 1);
    assert_eq!(nodes[1].hub().rooms("").list().await.unwrap().rooms, [], "the seat of a kicked player");
}
