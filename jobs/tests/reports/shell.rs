//! The interactive shell on a terminal: history, completion, `\\d`, `\\timing` and interrupts.
//!
//! The terminal is one of Python's `pty`; without METERHOUSE_TEST_PYTHON the test says so and passes.

use std::process::Command;

use crate::lake;

const SCRIPT: &str = include_str!("shell.py");

#[test]
fn the_shell_remembers_completes_and_describes() {
    let Some(python) = std::env::var_os("METERHOUSE_TEST_PYTHON") else {
        println!("skipped: METERHOUSE_TEST_PYTHON is not set");
        return;
    };
    let folder = lake("redline");
    let output = Command::new(python)
        .current_dir(folder.path())
        .args(["-c", SCRIPT, env!("CARGO_BIN_EXE_meterhouse")])
        .env("METERHOUSE_LAKE", folder.path().join("lake"))
        .env("HOME", folder.path())
        .env("TERM", "xterm")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n", "{errors}");
}
