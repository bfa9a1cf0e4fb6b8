//! Key-value settings (100, 101, 102, 219).

use super::{Answer, Nameserver, Result, Save, success};
use proto::Command;
use proto::code::response;
use proto::header::{
    DeleteKvConfigRequest, GetKvConfigRequest, GetKvConfigResponse, GetKvListByNamespaceRequest, PutKvConfigRequest,
};

impl Nameserver {
    pub(super) fn put_kv(&mut self, request: &Command) -> Result<Answer> {
        let header: PutKvConfigRequest = request.header()?;
        let (Some(namespace), Some(key)) = (header.namespace, header.key) else {
            return Ok(Command::error(response::SYSTEM_ERROR, "namespace or key is null").into());
        };
        self.kv.put(&namespace, &key, header.value);
        Ok(self.saved_kv())
    }

    pub(super) fn delete_kv(&mut self, request: &Command) -> Result<Answer> {
        let header: DeleteKvConfigRequest = request.header()?;
        let (Some(namespace), Some(key)) = (header.namespace, header.key) else {
            return Ok(Command::error(response::SYSTEM_ERROR, "namespace or key is null").into());
        };
        self.kv.delete(&namespace, &key);
        Ok(self.saved_kv())
    }

    pub(super) fn get_kv(&self, request: &Command) -> Result {
        let header: GetKvConfigRequest = request.header()?;
        let (namespace, key) = (header.namespace.unwrap_or_default(), header.key.unwrap_or_default());
        Ok(match self.kv.get(&namespace, &key) {
            Some(value) => success().with_header(&GetKvConfigResponse { value: Some(value.to_owned()) }),
            None => {
                Command::error(response::QUERY_NOT_FOUND, format!("No config item, Namespace: {namespace} Key: {key}"))
            }
        })
    }

    pub(super) fn list_kv(&self, request: &Command) -> Result {
        let header: GetKvListByNamespaceRequest = request.header()?;
        let namespace = header.namespace.unwrap_or_default();
        let Some(keys) = self.kv.namespace(&namespace) else {
            return Ok(Command::error(response::QUERY_NOT_FOUND, format!("No config item, Namespace: {namespace}")));
        };
        let table = keys.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
        Ok(success().with_body(proto::json::to_vec(&proto::body::KvTable { table })))
    }

    fn saved_kv(&self) -> Answer {
        Answer {
            command: success(),
            save: Some(Save { path: self.config.kv_path(), text: proto::json::to_vec(&self.kv) }),
        }
    }
}
