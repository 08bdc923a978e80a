//! Tests the options of the program.

use std::fs;

use clap::Parser;

use crate::{Arguments, write};

#[test]
fn every_option_is_written_to_the_files() {
    let folder = std::env::temp_dir().join(format!("kengine-example-gateway-{}", std::process::id()));
    let options = "gateway --redis redis://db/ --resolver 127.0.0.11 --listen 8443 --certificate /c.pem --key /k.pem \
        --trusted-proxy 10.0.0.2 --trusted-proxy 10.1.0.0/16 --standalone";
    let given = options.split_whitespace().chain([folder.to_str().expect("a UTF-8 path")]);
    let conf = write(Arguments::try_parse_from(given).expect("valid options")).expect("a folder of ours");
    let [conf, settings] =
        [conf, folder.join("settings.lua")].map(|file| fs::read_to_string(file).expect("a written file"));
    fs::remove_dir_all(&folder).expect("a folder of ours");
    let pid = format!("pid {}/nginx.pid", folder.display());
    for line in [
        "listen 8443 ssl",
        "resolver 127.0.0.11",
        "ssl_certificate     /c.pem",
        "ssl_certificate_key /k.pem",
        "set_real_ip_from 10.0.0.2/32",
        "set_real_ip_from 10.1.0.0/16",
        &pid,
    ] {
        assert!(conf.lines().any(|written| written.trim().starts_with(line)), "{line} in {conf}");
    }
    assert!(settings.contains(r#"host = "db""#), "{settings}");
}

#[test]
fn certificate_requires_a_key() {
    assert!(Arguments::try_parse_from(["gateway", "--certificate", "/c.pem", "/tmp"]).is_err());
}
