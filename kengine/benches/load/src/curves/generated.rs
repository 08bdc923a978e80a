//! Generated programs: a block with many routes, as kengine's users write it, and as one would write it by hand, with a
//! `match` and serde_json. Both are served by kengine, so that they differ in nothing else.

use std::env;
use std::fmt::Write;
use std::fs;
use std::io::{self, Error};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Bench;
use crate::process;

/// How a program finds the method of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `#[kengine::dispatcher]` with routes.
    Kengine,
    /// A `match` on the route, in one method for all messages.
    ByHand,
}

/// A workspace of generated programs.
#[derive(Debug)]
pub struct Generated<'a> {
    bench: Bench<'a>,
    folder: PathBuf,
    /// How many types of messages the routes of a program have together. The routes take turns.
    max_types: usize,
}

impl<'a> Generated<'a> {
    /// Writes a program in each style for each number of routes.
    pub fn write(bench: &Bench<'a>, routes: &[usize], max_types: usize) -> io::Result<Self> {
        let generated = Self { bench: *bench, folder: bench.out.join("generated"), max_types };
        let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let kengine = fs::canonicalize(benches.join("..").join(".."))?.join("kengine");
        let packages: Vec<(Style, usize)> =
            routes.iter().flat_map(|&routes| [(Style::Kengine, routes), (Style::ByHand, routes)]).collect();
        let names: Vec<String> = packages.iter().map(|&(style, routes)| package(style, routes)).collect();
        fs::create_dir_all(&generated.folder)?;
        fs::write(
            generated.folder.join("Cargo.toml"),
            format!(
                "[workspace]\nmembers = {names:?}\nresolver = \"3\"\n\n[profile.release]\ndebug = \"line-tables-only\"\n"
            ),
        )?;
        // The same dependencies as the other servers, which are there already.
        fs::copy(benches.join("Cargo.lock"), generated.folder.join("Cargo.lock"))?;
        for ((style, routes), name) in packages.into_iter().zip(names) {
            let package = generated.folder.join(&name);
            fs::create_dir_all(package.join("src"))?;
            fs::write(package.join("Cargo.toml"), manifest(&name, &kengine))?;
            generated.edit(style, routes, 0)?;
        }
        Ok(generated)
    }

    /// Writes the source anew. Each edit changes the body of the first method.
    pub fn edit(&self, style: Style, routes: usize, edit: usize) -> io::Result<()> {
        let main = self.folder.join(package(style, routes)).join("src").join("main.rs");
        fs::write(main, source(style, routes, self.max_types.min(routes), edit))
    }

    /// Builds a package, and returns the CPU time that it took. It takes as long on one core that does nothing else.
    pub fn build(&self, style: Style, routes: usize, arguments: &[&str]) -> io::Result<Duration> {
        let name = package(style, routes);
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--offline", "--package", &name]).args(arguments);
        command.arg("--manifest-path").arg(self.folder.join("Cargo.toml")).arg("--target-dir").arg(self.bench.target);
        let before = process::cpu_of_children()?;
        if !command.status()?.success() {
            return Err(Error::other(format!("`{name}` was not built")));
        }
        Ok(process::cpu_of_children()?.saturating_sub(before))
    }
}

/// The name of a package, and of its binary.
pub fn package(style: Style, routes: usize) -> String {
    match style {
        Style::Kengine => format!("generated-{routes}"),
        Style::ByHand => format!("generated-by-hand-{routes}"),
    }
}

/// The name of a route.
pub fn route_name(route: usize) -> String {
    format!("route_{route:03}")
}

fn manifest(name: &str, kengine: &Path) -> String {
    format!(
        r#"[package]
name = "{name}"
version = "0.0.0"
edition = "2024"
publish = false

[dependencies]
kengine = {{ path = "{}" }}
serde = {{ version = "1.0", features = ["derive"] }}
serde_json = "1.0"
tokio = {{ version = "1.51", features = ["macros", "rt-multi-thread"] }}
"#,
        kengine.display()
    )
}

fn source(style: Style, routes: usize, types: usize, edit: usize) -> String {
    let (mut messages, mut methods, mut arms) = (String::new(), String::new(), String::new());
    // Writing to a string cannot fail.
    for number in 0..types {
        let _ = write!(
            messages,
            "#[derive(serde::Deserialize)]\nstruct Message{number} {{\n    greeting: String,\n    context: String,\n}}\n\n"
        );
    }
    for route in 0..routes {
        let number = route % types;
        let name = route_name(route);
        let edit = if route == 0 { edit } else { 0 };
        let mark = if style == Style::Kengine { "    #[route]\n" } else { "" };
        let _ = write!(
            methods,
            "{mark}    async fn {name}(&self, message: Message{number}) -> String {{
        std::hint::black_box((&message.context, {edit}));
        format!(\"hey, you said: {{}}\", message.greeting)
    }}\n\n"
        );
        let _ = writeln!(arms, "            \"{name}\" => Ok(self.{name}(parsed(envelope)?).await),");
    }
    let block = match style {
        Style::Kengine => format!("#[kengine::dispatcher]\nimpl Game {{\n{methods}}}\n"),
        Style::ByHand => format!(
            r#"impl Game {{
{methods}}}

fn parsed<'e, T: serde::Deserialize<'e>>(envelope: &kengine::wire::Envelope<'e>) -> Result<T, kengine::Error> {{
    serde_json::from_str(envelope.payload()).map_err(|error| kengine::Error::new("invalid_message", error.to_string()))
}}

#[kengine::dispatcher]
impl Game {{
    #[fallback]
    async fn by_hand(&self, envelope: &kengine::wire::Envelope<'_>) -> Result<String, kengine::Error> {{
        match envelope.route() {{
{arms}            _ => Err(kengine::Error::new("unknown_method", "there is no such method")),
        }}
    }}
}}
"#
        ),
    };
    format!(
        r#"{messages}struct Game;

{block}
#[tokio::main]
async fn main() -> Result<(), kengine::StartError> {{
    let bound = kengine::Server::new(Game)
        .max_messages_per_second(1_000_000_000, 1_000_000_000)
        .max_bytes_per_second(1_000_000_000, 1_000_000_000)
        .bind("127.0.0.1:0")
        .await?;
    println!("{{}}", bound.local_addr().port());
    bound.serve().await
}}
"#
    )
}
