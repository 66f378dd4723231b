//! What ffmpeg may take and see when it decodes files from strangers.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::attacks::{Bench, anna};
use crate::support::{root, selfie};

/// The process of a function keeps its environment and memory to itself, so that ffmpeg, which runs as the same user, cannot read secrets.
#[tokio::test]
async fn ffmpeg_cannot_read_the_secrets_of_the_function() {
    let bench = Bench::new(&[]).await;
    bench.submit_for_new(&anna(), &anna()).await;
    // The state of this process, in which the function runs.
    let owner = std::fs::metadata("/proc/self/environ").unwrap();
    let dumpable = rustix::process::dumpable_behavior().unwrap();
    assert_eq!(dumpable, rustix::process::DumpableBehavior::NotDumpable, "{owner:?}");
}

/// The most memory that a run of ffmpeg may take, in kB.
const MOST_MEMORY: u64 = 900_000;

/// 64 megapixels with 16 bits a channel, beside a video: each run stays within its memory.
#[tokio::test]
async fn hostile_files_stay_within_the_memory_of_the_function() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("64mp.tif");
    let draw = "import sys; sys.path.insert(0, sys.argv[1]); import specimens; specimens.tiff64(sys.argv[2])";
    let mut python = Command::new(root().join(".venv/bin/python"));
    python.args(["-c", draw]).arg(root().join("tools/local")).arg(&path);
    assert!(python.status().unwrap().success());
    // A wrapper in the place of ffmpeg notes the memory of each run.
    let (wrapper, log): (PathBuf, PathBuf) = (folder.path().join("ffmpeg"), folder.path().join("log"));
    let script = format!(
        "#!{python}\nimport os, resource, subprocess, sys\nstatus = subprocess.run([{ffmpeg:?}, *sys.argv[1:]]).returncode\n\
         peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\nopen({log:?}, 'a').write(f'{{peak}}\\n')\nsys.exit(status)\n",
        python = root().join(".venv/bin/python").display(),
        ffmpeg = root().join(".venv/bin/ffmpeg"),
    );
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let bench = Bench::new(&[("FFMPEG_PATH", wrapper.to_str().unwrap())]).await;
    let (_, flow) = bench.app.person(&bench.partner, json!({})).await;
    let answer = bench.submit(&flow, &selfie(&anna()), &std::fs::read(&path).unwrap()).await;
    assert_ne!((answer.status, &answer.body["result"]["status"]), (200, &json!("verified")), "{answer:?}");
    let peaks: Vec<u64> = std::fs::read_to_string(&log).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert!(!peaks.is_empty() && peaks.iter().all(|peak| *peak < MOST_MEMORY), "{peaks:?}");
}
