//! Partitions with manifests in the forms of the field that say 1.3 (`corpus/manifests`).

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use host_tests::ffa::*;
use host_tests::transfer_list::{IMAGE, MANIFEST, VOID, pack};
use host_tests::{PartitionSpec, System};

/// Compiles a manifest of the corpus and packs it.
fn package(file: &str) -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus/manifests")
        .join(file);
    let output = Command::new("dtc")
        .args(["-q", "-I", "dts", "-O", "dtb"])
        .arg(source)
        .output()
        .expect("dtc is needed: `cargo xtask setup` installs it");
    let manifest = output.stdout;
    let filler = vec![0; 0x4000 - 0x1000 - manifest.len().next_multiple_of(8) - 32];
    let image = [0xd5; 0x1000];
    pack(&[(MANIFEST, &manifest), (VOID, &filler), (IMAGE, &image)])
}

// req: MAN-02, MAN-03, PMAN-01
#[test]
fn manifests_that_say_1_3_boot_and_serve() {
    let spec = |name, file| {
        PartitionSpec::new(name).version(3).with(|sp| {
            sp.package = Some(package(file));
            sp.takes_exceptions = false;
            sp.script = Arc::new(|sp| {
                assert_eq!(sp.call([VERSION, 0x1_0003]).0[0], 0x1_0003);
                sp.serve(|_, request| request.payload())
            });
        })
    };
    let system = System::boot([
        spec("cactus", "cactus-1.3.dts").vcpus(8),
        spec("ivy", "ivy-1.3.dts").s_el0(),
        spec("lifecycle", "lifecycle-1.3.dts"),
    ]);
    let nwd = system.nwd();
    for id in 0x8001..=0x8003 {
        assert_eq!(nwd.ask(id, [7; 5]), [7; 5], "{id:#x}");
    }
    let ivy = &system.spmc.partitions[1].frozen.config;
    let queued = spmc::manifest::config::NsInterruptAction::Queued;
    assert_eq!(ivy.ns_interrupts, queued);
}
