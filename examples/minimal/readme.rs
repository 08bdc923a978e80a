//! Tests the README: its program compiles in a new crate with the listed dependencies and answers, and its conversation
//! with the example `chat` is real.

use std::{fs, path::Path};

use futures_util::{SinkExt, StreamExt};
use kengine_examples::{Program, build, free_port};
use tokio_tungstenite::{connect_async, tungstenite::Message};

const README: &str = include_str!("../../README.md");

/// Returns the README's first code block of this kind.
fn snippet(kind: &str) -> &'static str {
    let start = README.find(&format!("```{kind}\n")).unwrap_or_else(|| panic!("no {kind} in the README"));
    let (_, rest) = README[start..].split_once('\n').unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn readme_starts_with_this_example() {
    let program = include_str!("main.rs").split_once("\n\n").unwrap().1;
    // The README omits the test.
    let program = program.strip_suffix("\n#[cfg(test)]\nmod test;\n").unwrap();
    assert_eq!(program, snippet("rust,no_run"));
}

#[tokio::test]
async fn program_of_the_readme_runs_in_a_new_crate() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = examples.parent().unwrap();
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("newcomer");
    fs::create_dir_all(home.join("src")).unwrap();
    let kengine = root.join("kengine").display().to_string();
    let dependencies = snippet("toml");
    assert!(dependencies.contains("../kengine/kengine"), "the README contains the path that this test replaces");
    let dependencies = dependencies.replace("../kengine/kengine", &kengine);
    let package = "[workspace]\n[package]\nname = \"newcomer\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    fs::write(home.join("Cargo.toml"), format!("{package}{dependencies}")).unwrap();
    // Use the dependency versions of this workspace.
    fs::copy(root.join("Cargo.lock"), home.join("Cargo.lock")).unwrap();
    // Use a free port.
    let program = snippet("rust,no_run");
    let bind = r#".bind("127.0.0.1:8000").await?"#;
    assert!(program.contains(bind), "the README's program contains the address that this test replaces");
    let port = free_port();
    let program = program.replace(bind, &format!(r#".bind("127.0.0.1:{port}").await?"#));
    fs::write(home.join("src/main.rs"), program).unwrap();

    let target = home.join("target");
    let target_dir = target.to_str().unwrap();
    build(&home, &["--bin", "newcomer", "--target-dir", target_dir, "--config", "profile.dev.debug=0"]);
    let newcomer = Program::run(&target.join("debug/newcomer"), port).await;
    let (mut player, _) = connect_async(newcomer.url()).await.unwrap();
    player.send(Message::text(r#"{"method":"chat","message":{"greeting":"hello"}}"#)).await.unwrap();
    assert_eq!(player.next().await.unwrap().unwrap(), Message::text(r#""hey, you said: hello""#));
}

#[tokio::test]
async fn conversation_of_the_readme_is_real() {
    let program = Program::start("chat").await;
    let (url, _) = program.url().split_once('?').unwrap();
    let (mut ada, _) = connect_async(format!("{url}?uid=ada")).await.unwrap();
    let (mut bob, _) = connect_async(format!("{url}?uid=bob")).await.unwrap();
    let mut answers = 0;
    for line in snippet("text").lines() {
        let (direction, text) = line.split_once(' ').unwrap();
        if direction == ">" {
            ada.send(Message::text(text)).await.unwrap();
            continue;
        }
        if text.contains("joined") {
            // The other player joins and chats.
            for message in [
                r#"{"method":"join","message":{"room":"lobby"}}"#,
                r#"{"method":"chat","message":{"greeting":"hello"}}"#,
            ] {
                bob.send(Message::text(message)).await.unwrap();
            }
        }
        assert_eq!(ada.next().await.unwrap().unwrap(), Message::text(text));
        answers += 1;
    }
    assert!(answers > 0);
}
