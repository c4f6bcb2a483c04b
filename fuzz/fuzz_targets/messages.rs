//! Headers of frames take any bytes, and come back as they were once they are decoded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use tidelog_proto::v1;

fn decode<M: Message + Default + PartialEq>(data: &[u8]) {
    if let Ok(message) = M::decode(data) {
        let again = M::decode(message.encode_to_vec().as_slice());
        assert!(again.is_ok_and(|again| again == message));
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, header)) = data.split_first() else { return };
    match v1::FrameKind::try_from(i32::from(*kind)) {
        Ok(v1::FrameKind::Hello) => decode::<v1::Hello>(header),
        Ok(v1::FrameKind::HelloReply) => decode::<v1::HelloReply>(header),
        Ok(v1::FrameKind::Attach) => decode::<v1::Attach>(header),
        Ok(v1::FrameKind::Request) => decode::<v1::Request>(header),
        Ok(v1::FrameKind::Response) => decode::<v1::Response>(header),
        Ok(v1::FrameKind::OpenProducer) => decode::<v1::OpenProducer>(header),
        Ok(v1::FrameKind::Produce) => decode::<v1::Produce>(header),
        Ok(v1::FrameKind::ProduceAck) => decode::<v1::ProduceAck>(header),
        Ok(v1::FrameKind::Subscribe) => decode::<v1::Subscribe>(header),
        Ok(v1::FrameKind::Records) => decode::<v1::Records>(header),
        Ok(v1::FrameKind::Error) => decode::<v1::Error>(header),
        _ => {}
    }
});
