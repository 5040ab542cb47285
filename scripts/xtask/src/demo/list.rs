//! The list of demos.

use super::fire::{self, Fire};
use super::stmm::Bank;
use super::{Demo, From, System, rust_sp};
use crate::selection::Selection;

/// All demos. The longest comes last.
pub const DEMOS: &[Demo] = &[
    Demo {
        name: "linux",
        about: "Linux finds the test partitions, and turns its PEs off and on",
        system: System::Linux {
            command_line: "HOTPLUG=10",
            optee: false,
            from: From::Firmware,
        },
        layout: "default",
        smp: &[1, 2, 4],
        expect: &[
            "ARM FF-A: Driver version 1.2",
            "ARM FF-A: Firmware version 1.2 found",
            "demo: partition arm_ffa:8001:b4b5671e-4a90-4fe1-b81f-fb13dae1dacb",
            "demo: partition arm_ffa:8002:d1582309-f023-47b9-827c-4464f5578fc8",
            "ARM-FFA-SRI",
            "demo: 10 rounds of hotplug",
            "demo: end",
        ],
        known: &[],
        fire: Some(Fire {
            layout: "systems/fire",
            words: "HOTPLUG=60",
            smp: &[4],
            expect: &[
                "demo: partition arm_ffa:8001:b4b5671e-4a90-4fe1-b81f-fb13dae1dacb",
                "demo: partition arm_ffa:8002:d1582309-f023-47b9-827c-4464f5578fc8",
                "demo: 60 rounds of hotplug",
                "demo: end",
            ],
            known: fire::KNOWN,
        }),
    },
    Demo {
        name: "linux-16",
        about: "Linux on 16 PEs finds partitions with a context for each, and turns its PEs off and on",
        system: System::Linux {
            command_line: "HOTPLUG=3",
            optee: false,
            from: From::Firmware,
        },
        layout: "pes-16",
        smp: &[16],
        expect: &[
            "ARM FF-A: Firmware version 1.2 found",
            "SMP: Total of 16 processors activated",
            "demo: partition arm_ffa:8001:b4b5671e-4a90-4fe1-b81f-fb13dae1dacb",
            "demo: partition arm_ffa:8002:d1582309-f023-47b9-827c-4464f5578fc8",
            "ARM-FFA-SRI",
            "demo: 3 rounds of hotplug",
            "demo: 16 PEs",
            "demo: end",
        ],
        known: &[],
        fire: None,
    },
    Demo {
        name: "rust-sp",
        about: "A partition in Rust from crates signs with a key of its own, and openssl agrees",
        system: System::TestOs(Selection::Signer, rust_sp::judge),
        layout: rust_sp::LAYOUT,
        smp: &[1, 4],
        expect: &["is ready, with a new key", "# rate signature of 64 bytes"],
        known: &[],
        fire: None,
    },
    Demo {
        name: "u-boot",
        about: "U-Boot lists the test partitions, and asks one of them",
        // U-Boot reads each field of a UUID as a little-endian number. The bytes are those of the
        // first partition.
        system: System::UBoot(
            "armffa devlist; armffa getpart 1e67b5b4-904a-e14f-1fb8-cbdae1da13fb; armffa ping 0x8001",
        ),
        layout: "default",
        smp: &[1],
        expect: &["device arm_ffa", "Partition: id = 8001", "SP response"],
        known: &[],
        fire: Some(Fire {
            layout: "systems/fire",
            words: "for n in 1 2 3 4 5 6 7 8; do armffa devlist; \
                armffa getpart 1e67b5b4-904a-e14f-1fb8-cbdae1da13fb || echo demo: failed: getpart; \
                armffa ping 0x8001 || echo demo: failed: ping; sleep 1; done; echo demo: end",
            smp: &[1],
            expect: &[
                "device arm_ffa",
                "Partition: id = 8001",
                "SP response",
                "demo: end",
            ],
            known: &[],
        }),
    },
    Demo {
        name: "u-boot-linux",
        about: "U-Boot at FF-A 1.0 asks a partition and starts Linux, which speaks 1.2",
        system: System::Linux {
            command_line: "",
            optee: false,
            from: From::UBoot("armffa ping 0x8001"),
        },
        layout: "default",
        smp: &[2],
        expect: &[
            "SP response",
            "ARM FF-A: Firmware version 1.2 found",
            "demo: partition arm_ffa:8001:b4b5671e-4a90-4fe1-b81f-fb13dae1dacb",
            "demo: end",
        ],
        known: &[],
        fire: None,
    },
    Demo {
        name: "stmm",
        about: "UEFI keeps its variables in StandaloneMm, and its shell and Linux read and write them",
        system: System::Uefi(Bank::Shared),
        layout: "systems/stmm",
        smp: &[1, 2, 4],
        expect: UEFI_BOOTS,
        known: &[],
        fire: Some(Fire {
            layout: "systems/stmm/fire",
            words: "HOTPLUG_BESIDE=1 REPEAT=20",
            smp: &[4],
            expect: &[
                "demo: partition arm_ffa:8001:378daedc-f06b-4446-8314-40ab933c87a3",
                "demo: variables: 20 turns",
                "times off and on",
                "demo: end",
            ],
            known: fire::KNOWN,
        }),
    },
    Demo {
        name: "stmm-secure-flash",
        about: "as stmm, with the variables in the flash of the Secure world",
        system: System::Uefi(Bank::Secure),
        layout: "systems/stmm/secure-flash",
        smp: &[1],
        expect: UEFI_BOOTS,
        known: &[],
        fire: None,
    },
    Demo {
        name: "optee-and-partitions",
        about: "OP-TEE beside the test partitions, and some of its tests while interrupts and messages keep every PE busy",
        system: System::Linux {
            command_line: "XTEST=\"-l 0 -t regression _1004 _1013\"",
            optee: true,
            from: From::Firmware,
        },
        layout: "systems/optee-and-partitions",
        smp: &[4],
        expect: &[
            "demo: partition arm_ffa:8001:b4b5671e-4a90-4fe1-b81f-fb13dae1dacb",
            "demo: partition arm_ffa:8002:d1582309-f023-47b9-827c-4464f5578fc8",
            "demo: partition arm_ffa:8003:486178e0-e7f8-11e3-bc5e-0002a5d5c51b",
            "demo: partition arm_ffa:8004:c10cc10c-0a11-4b22-8c33-d44e55f66077",
            "# clock: nothing lost in ",
            "demo: /dev/tee0",
            "demo: xtest ended with 0",
            "demo: end",
        ],
        known: &[],
        fire: None,
    },
    Demo {
        name: "optee-16",
        about: "OP-TEE as a partition on 16 PEs, and some of its tests, one of them with threads",
        system: System::Linux {
            command_line: "XTEST=\"-l 0 -t regression 1004 1013\"",
            optee: true,
            from: From::Firmware,
        },
        layout: "systems/optee-16",
        smp: &[16],
        expect: &[
            "optee: initialized driver",
            "demo: /dev/tee0",
            "demo: 16 PEs",
            "demo: xtest ended with 0",
            "demo: end",
        ],
        known: &[],
        fire: None,
    },
    Demo {
        name: "pkvm",
        about: "Linux and OP-TEE with a Hypervisor at EL2 that relays each call, and some of the tests",
        system: System::Linux {
            command_line: "kvm-arm.mode=protected XTEST=\"-l 0 -t regression 1004\"",
            optee: true,
            from: From::Firmware,
        },
        layout: "systems/optee",
        smp: &[2],
        expect: &[
            "Protected hVHE mode initialized successfully",
            "ARM FF-A: Firmware version",
            "demo: /dev/tee0",
            "demo: xtest ended with 0",
            "demo: end",
        ],
        known: &["optee: Failed to initialize async notifications: -95"],
        fire: Some(Fire::optee(
            "kvm-arm.mode=protected HOTPLUG_BESIDE=1 XTEST=\"-l 0 -t regression 1004\"",
        )),
    },
    Demo {
        name: "xen",
        about: "Linux and OP-TEE with Xen, whose mediator relays each call, and Linux as the first domain",
        system: System::Linux {
            command_line: "XTEST=\"-l 0 -t regression 1004\"",
            optee: true,
            from: From::Xen,
        },
        layout: "systems/optee",
        smp: &[2],
        expect: &[
            "ARM FF-A Mediator version",
            "Using TEE mediator for FF-A",
            "ARM FF-A: Firmware version",
            "demo: /dev/tee0",
            "demo: xtest ended with 0",
            "demo: end",
        ],
        known: &[
            "optee: Failed to initialize async notifications: -65530",
            "Grant table initialized",
            "Failed to add - passthrough or MSI/MSI-X might fail!",
        ],
        fire: Some(Fire::optee(
            "HOTPLUG_BESIDE=1 XTEST=\"-l 0 -t regression 1004\"",
        )),
    },
    Demo {
        name: "optee",
        about: "OP-TEE as a partition, its whole test suite in Linux",
        system: System::Linux {
            command_line: "XTEST=\"-l 0 -t regression+pkcs11\"",
            optee: true,
            from: From::Firmware,
        },
        layout: "systems/optee",
        smp: &[2],
        expect: XTEST_PASSES,
        known: &[],
        fire: Some(Fire::optee(
            "HOTPLUG_BESIDE=1 XTEST=\"-l 0 -t regression _1004 _1013\"",
        )),
    },
];

const UEFI_BOOTS: &[&str] = &[
    "efi: EFI v2.",
    "Registered efivars operations",
    "ARM FF-A: Firmware version 1.2 found",
    "demo: partition arm_ffa:8001:378daedc-f06b-4446-8314-40ab933c87a3",
    "demo: end",
];

const XTEST_PASSES: &[&str] = &[
    "optee: initialized driver",
    "demo: /dev/tee0",
    "143 test cases of which 0 failed",
    "0 test cases were skipped",
    "demo: xtest ended with 0",
    "demo: end",
];
