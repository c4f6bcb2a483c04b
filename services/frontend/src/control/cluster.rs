//! The cluster as clients see it, and identities for producers.

use bytes::Bytes;
use tidelog_proto::v1;

use crate::edge::Edge;
use crate::error;

pub(super) fn metadata(edge: &Edge) -> v1::MetadataResponse {
    let options = &edge.options;
    v1::MetadataResponse {
        cluster_id: options.cluster_id.map(|id| Bytes::copy_from_slice(id.as_bytes())).unwrap_or_default(),
        endpoints: vec![v1::metadata_response::Endpoint {
            node: options.node,
            address: edge.advertised.clone(),
            rack: String::new(),
        }],
        software: options.software.clone(),
        server_time_ms: edge.clock.now().0,
    }
}

pub(super) async fn init_producer(edge: &Edge) -> Result<v1::InitProducerResponse, v1::Error> {
    let (id, epoch) = edge.store.init_producer().await.map_err(error::of_store)?;
    Ok(v1::InitProducerResponse { producer_id: id.0, producer_epoch: i32::from(epoch.0) })
}
