#![allow(unsafe_code)]
#![allow(unreachable_pub)]
//! A file system of its own for a test, whose power the test can cut.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `EXT4_IOC_SHUTDOWN`: the file system stops where it stands.
const SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: and does not write its journal out first.
const NO_LOG_FLUSH: u32 = 2;

/// An ext4 in a file, mounted through a loop device. Unmounted when dropped.
pub struct LoopDevice {
    dir: tempfile::TempDir,
}

impl LoopDevice {
    /// `None`, and the reason on stderr, where this process may not mount.
    pub fn new(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let device = Self { dir };
        std::fs::create_dir(device.mount_point()).unwrap();
        File::create(device.image()).unwrap().set_len(bytes).unwrap();
        let image = device.image();
        let made = run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), "-m0".as_ref(), &image]);
        if !made || !device.mount() {
            skipped("it takes root, loop devices and mkfs.ext4");
            return None;
        }
        Some(device)
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    pub fn mount_point(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    fn mount(&self) -> bool {
        run("mount", &["-o".as_ref(), "loop".as_ref(), &self.image(), &self.mount_point()])
    }

    fn unmount(&self) -> bool {
        run("umount", &[&self.mount_point()])
    }

    /// From here on nothing reaches the file system, and what did not reach it is lost.
    pub fn cut_power(&self) {
        let root = File::open(self.mount_point()).unwrap();
        // SAFETY: the request reads the u32 that `Setter` points it to, and nothing else.
        unsafe {
            rustix::ioctl::ioctl(&root, rustix::ioctl::Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)).unwrap();
        }
    }

    /// The power comes back. Everything in the file system must have been closed.
    pub fn restore_power(&self) {
        assert!(self.unmount() && self.mount(), "the file system comes back");
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn run(program: &str, arguments: &[&Path]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[allow(clippy::print_stderr)] // Whoever runs the tests should know what was not tested.
fn skipped(why: &str) {
    eprintln!("SKIPPED: no file system of its own for this test: {why}");
}
