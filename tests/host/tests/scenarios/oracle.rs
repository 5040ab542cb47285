//! The crate `arm-ffa` as a client: the engine understands what it packs, and it unpacks what the
//! engine writes. The crate supports neither layouts of 1.0 nor 32-byte receivers, so partitions
//! have version 1.1 here.

use arm_ffa::memory_management::{
    Cacheability, ConstituentMemRegion, DataAccessPerm, Handle, InstuctionAccessPerm,
    MemAccessPerm, MemRegionAttributes, MemRegionSecurity, MemRelinquishDesc, MemTransactionDesc,
    MemTransactionFlags, MemType, Shareability,
};
use arm_ffa::partition_info::{PartitionIdType, PartitionInfoIterator};
use arm_ffa::{FuncId, Version};
use host_tests::ffa::*;
use host_tests::system::{NWD_PAGES, NWD_RX};
use host_tests::{PartitionSpec, System};
use spmc::addr::World::Secure;

use crate::stage::{OWN_PAGES, READ_WRITE, SP1, SP2, Stage};

const NORMAL_MEMORY: MemType = MemType::Normal {
    cacheability: Cacheability::WriteBack,
    shareability: Shareability::Inner,
};

fn access(endpoint_id: u16, instr_access: InstuctionAccessPerm) -> MemAccessPerm {
    MemAccessPerm {
        endpoint_id,
        instr_access,
        data_access: DataAccessPerm::ReadWrite,
        flags: 0,
    }
}

fn pack(
    transaction: &MemTransactionDesc,
    constituents: &[ConstituentMemRegion],
    access: MemAccessPerm,
) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let length = transaction.pack(constituents, &[access], &mut bytes);
    bytes.truncate(length);
    bytes
}

// req: MEMD-60, MEMD-61, MEMD-16, MEMD-21, MEMD-01, MEMD-05, MEMRQ-17, MEMRQ-18, MEMRL-01, MEMD-93
// req: MEMD-94
#[test]
fn a_share_by_the_crate() {
    let stage = Stage::with(|spec| spec.version(1));
    let attributes = |security| MemRegionAttributes {
        security,
        mem_type: NORMAL_MEMORY,
    };
    let nwd = stage.nwd();
    nwd.call([RXTX_UNMAP]).success();
    nwd.version(V1_1);
    nwd.map_buffers();
    let constituents = [
        ConstituentMemRegion {
            address: NWD_PAGES + 0x3000,
            page_cnt: 2,
        },
        ConstituentMemRegion {
            address: NWD_PAGES,
            page_cnt: 1,
        },
    ];
    let share = MemTransactionDesc {
        sender_id: 0,
        mem_region_attr: attributes(MemRegionSecurity::Secure),
        flags: MemTransactionFlags(0),
        handle: Handle(0),
        tag: 0x55,
    };
    let sent = pack(
        &share,
        &constituents,
        access(SP1, InstuctionAccessPerm::NotSpecified),
    );
    let handle = nwd.memory_call(MEM_SHARE_32, &sent).handle();
    stage.run(SP1, move |sp| {
        let request = MemTransactionDesc {
            handle: Handle(handle),
            flags: MemTransactionFlags(MemTransactionFlags::TYPE_SHARE),
            ..share
        };
        // `arm-ffa` always writes a composite descriptor, which a request does not have.
        let mut bytes = pack(
            &request,
            &[],
            access(SP1, InstuctionAccessPerm::NotSpecified),
        );
        bytes.truncate(64);
        bytes[52..56].fill(0);
        let answer = sp.memory_call(MEM_RETRIEVE_REQ_32, &bytes);
        let bytes = sp.read_response(&answer);
        let (response, receivers, described) = MemTransactionDesc::unpack(&bytes).unwrap();
        let expected = MemTransactionDesc {
            mem_region_attr: attributes(MemRegionSecurity::NonSecure),
            ..request
        };
        assert_eq!(response, expected);
        let receivers: Vec<_> = receivers.map(Result::unwrap).collect();
        assert_eq!(
            receivers,
            [access(SP1, InstuctionAccessPerm::NotExecutable)]
        );
        let described: Vec<_> = described.unwrap().map(Result::unwrap).collect();
        assert_eq!(described, constituents);
        let mut bytes = [0; 64];
        let length = MemRelinquishDesc {
            handle: Handle(handle),
            flags: 0,
        }
        .pack(&[SP1], &mut bytes);
        sp.write(Secure, sp.tx(), &bytes[..length]).unwrap();
        sp.call([MEM_RELINQUISH]).success();
    });
    nwd.reclaim(handle).success();
}

// req: MEMD-60, MEMD-42, MEMD-46, MEMD-54
#[test]
fn a_lend_by_the_crate() {
    let stage = Stage::with(|spec| spec.version(1));
    let (handle, page) = stage.run(SP1, |sp| {
        let page = sp.base() + OWN_PAGES;
        let lend = MemTransactionDesc {
            sender_id: SP1,
            ..MemTransactionDesc::default()
        };
        let constituents = [ConstituentMemRegion {
            address: page,
            page_cnt: 1,
        }];
        let bytes = pack(
            &lend,
            &constituents,
            access(SP2, InstuctionAccessPerm::NotSpecified),
        );
        (sp.memory_call(MEM_LEND_64, &bytes).handle(), page)
    });
    let request = Transaction {
        attributes: 0,
        ..Transaction::retrieve(SP1, SP2, handle, RW | NX)
    };
    stage.retrieve(SP2, request).unwrap();
    assert_eq!(stage.access(SP2, Secure, page), READ_WRITE);
}

// req: PINFO-04, PINFO-06, PINFO-14, PINFO-15
#[test]
fn partitions_as_the_crate_sees_them() {
    for (word, version) in [(V1_1, Version(1, 1)), (V1_2, Version(1, 2))] {
        let system = System::boot([
            PartitionSpec::new("sp1"),
            PartitionSpec::new("sp2")
                .vcpus(4)
                .with(|sp| sp.messaging = 2),
        ]);
        let nwd = system.nwd();
        nwd.version(word);
        nwd.map_buffers();
        let count = nwd.call([PARTITION_INFO_GET]).success()[0] as usize;
        let bytes = nwd.read(NWD_RX, count * 24);
        let found: Vec<_> = PartitionInfoIterator::new(version, &bytes, count)
            .unwrap()
            .map(|info| info.unwrap())
            .map(|info| (info.partition_id, info.partition_id_type, info.props))
            .collect();
        let contexts = |execution_ctx_count| PartitionIdType::PeEndpoint {
            execution_ctx_count,
        };
        assert_eq!((found[0].0, found[0].1), (0x8001, contexts(1)));
        assert_eq!((found[1].0, found[1].1), (0x8002, contexts(4)));
        assert!(found[0].2.support_direct_req_rec && !found[1].2.support_direct_req_rec);
        for (_, _, properties) in found {
            assert!(properties.is_aarch64);
            assert!(!properties.support_direct_req_send && !properties.support_indirect_msg);
            assert!(!properties.support_notif_rec && !properties.subscribe_vm_created);
        }
    }
}

// req: COMP-01, COMP-05
#[test]
fn function_ids() {
    let ids = [
        (ERROR, FuncId::Error32),
        (SUCCESS_32, FuncId::Success32),
        (INTERRUPT, FuncId::Interrupt32),
        (VERSION, FuncId::Version),
        (FEATURES, FuncId::Features),
        (RX_RELEASE, FuncId::RxRelease),
        (RXTX_MAP_64, FuncId::RxTxMap64),
        (RXTX_UNMAP, FuncId::RxTxUnmap),
        (PARTITION_INFO_GET, FuncId::PartitionInfoGet),
        (ID_GET, FuncId::IdGet),
        (SPM_ID_GET, FuncId::SpmIdGet),
        (MSG_WAIT, FuncId::MsgWait32),
        (RUN, FuncId::Run32),
        (DIRECT_REQ_64, FuncId::MsgSendDirectReq64),
        (DIRECT_RESP_32, FuncId::MsgSendDirectResp32),
        (MEM_DONATE_64, FuncId::MemDonate64),
        (MEM_LEND_32, FuncId::MemLend32),
        (MEM_SHARE_32, FuncId::MemShare32),
        (MEM_RETRIEVE_REQ_64, FuncId::MemRetrieveReq64),
        (MEM_RETRIEVE_RESP, FuncId::MemRetrieveResp),
        (MEM_RELINQUISH, FuncId::MemRelinquish),
        (MEM_RECLAIM, FuncId::MemReclaim),
        (SECONDARY_EP_REGISTER_64, FuncId::SecondaryEpRegister64),
    ];
    for (id, expected) in ids {
        assert_eq!(id, u64::from(expected as u32));
    }
}
