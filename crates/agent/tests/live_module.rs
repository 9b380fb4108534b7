//! The Python module that runs inside Superset, by its own tests.

use std::path::Path;
use std::process::Command;

#[test]
fn the_python_module_keeps_its_promises() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let output = Command::new("python3")
        .args(["-W", "error", "-B", "-m", "unittest", "test_setkeeper_live"])
        .current_dir(deploy)
        .output()
        .expect("python3 runs; `deploy/setup.sh` installs it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("Ran 20 tests"), "{said}");
}
