//! The places of packages, which the SPMC checks: the SPMC manifest is not trusted.

use host_tests::ffa::*;
use host_tests::machine::SPMC_IMAGE;
use host_tests::manifest::{PARTITION_SIZE, partition_base, spmc_manifest};
use host_tests::{PartitionSpec, System};

/// Boots two partitions, the second of which lies at `base` by the SPMC manifest.
fn second_at(base: u64) -> System {
    let specs = || [PartitionSpec::new("first"), PartitionSpec::new("second")];
    let mut dtb = spmc_manifest(&specs(), 4);
    let (old, new) = (partition_base(1).to_be_bytes(), base.to_be_bytes());
    let at = dtb.windows(8).position(|bytes| bytes == old).unwrap();
    dtb[at..at + 8].copy_from_slice(&new);
    let builder = specs()
        .into_iter()
        .fold(System::builder(), |builder, spec| builder.sp(spec));
    builder.spmc_manifest(dtb).boot()
}

// req: MAN-28
#[test]
fn a_package_over_the_spmc_or_over_another_is_not_started() {
    let system = second_at(partition_base(1));
    assert_eq!(system.nwd().ask(0x8002, [2; 5]), [2; 5]);
    for base in [
        SPMC_IMAGE.start,
        SPMC_IMAGE.end - 0x1000,
        partition_base(0) + PARTITION_SIZE / 2,
    ] {
        let system = second_at(base);
        let nwd = system.nwd();
        assert_eq!(
            nwd.request(0x8002, [0; 5]).error(),
            Some(INVALID_PARAMETERS),
            "{base:#x}"
        );
    }
}
