//! Curator's `ServiceInstance`, the form in which services stand at `services/<service>/<instance>`. Pure.
//!
//! The form is that of `curator-x-discovery`'s `JsonInstanceSerializer` (5.4.0): what is not there is written as null,
//! and unknown fields are passed over, as later versions of Curator and other frameworks add some.

use change::Millis;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One instance of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceInstance {
    /// The service.
    pub name: String,
    /// The instance, unique within the service.
    pub id: String,
    /// Host name or address.
    pub address: Option<String>,
    /// The plain port.
    pub port: Option<u16>,
    /// The port for TLS.
    pub ssl_port: Option<u16>,
    /// Whatever the service adds of itself.
    pub payload: Option<Value>,
    /// When it was registered, by its own clock.
    pub registered: Millis,
    /// How long it stands.
    pub service_type: ServiceType,
    /// How Curator's clients put a URI together.
    pub uri_spec: Option<Value>,
    /// Whether clients may use it. Only later versions of Curator write it.
    pub enabled: bool,
}

/// How long a registration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceType {
    /// As long as its session: an ephemeral znode.
    #[default]
    Dynamic,
    /// Until it is removed, looked after by a process.
    Static,
    /// Until it is removed.
    Permanent,
    /// As long as its session, with a sequence in its znode's name.
    DynamicSequential,
}

/// Why bytes are no `ServiceInstance`.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Not its JSON.
    #[error("read a ServiceInstance as Curator writes it")]
    Json(#[from] serde_json::Error),
    /// A port beyond 65535.
    #[error("read a ServiceInstance: its `{field}` is {value}, which is no port")]
    Port {
        /// `port` or `sslPort`.
        field: &'static str,
        /// What stands there.
        value: i64,
    },
}

/// As it stands in the znode, in Curator's order of fields.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    name: String,
    id: String,
    address: Option<String>,
    port: Option<i64>,
    ssl_port: Option<i64>,
    payload: Option<Value>,
    #[serde(rename = "registrationTimeUTC", default)]
    registration_time_utc: i64,
    #[serde(default)]
    service_type: Option<ServiceType>,
    uri_spec: Option<Value>,
    /// Written only when false: Curator's default serializer refuses what it does not know.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    enabled: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_true(enabled: &bool) -> bool {
    *enabled
}

impl ServiceInstance {
    /// A dynamic instance at `address` and `port`, without a payload.
    #[must_use]
    pub fn new(name: &str, id: &str, address: &str, port: u16, registered: Millis) -> ServiceInstance {
        ServiceInstance {
            name: name.to_owned(),
            id: id.to_owned(),
            address: Some(address.to_owned()),
            port: Some(port),
            ssl_port: None,
            payload: None,
            registered,
            service_type: ServiceType::Dynamic,
            uri_spec: None,
            enabled: true,
        }
    }

    /// Reads a znode's data. A port that is not served (null, 0, or Druid's -1) is none.
    ///
    /// # Errors
    /// [`InstanceError`].
    pub fn from_json(bytes: &[u8]) -> Result<ServiceInstance, InstanceError> {
        let json: Json = serde_json::from_slice(bytes)?;
        Ok(ServiceInstance {
            port: port("port", json.port)?,
            ssl_port: port("sslPort", json.ssl_port)?,
            name: json.name,
            id: json.id,
            address: json.address,
            payload: json.payload,
            registered: Millis(json.registration_time_utc),
            service_type: json.service_type.unwrap_or_default(),
            uri_spec: json.uri_spec,
            enabled: json.enabled,
        })
    }

    /// The znode's data.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let json = Json {
            name: self.name.clone(),
            id: self.id.clone(),
            address: self.address.clone(),
            port: self.port.map(i64::from),
            ssl_port: self.ssl_port.map(i64::from),
            payload: self.payload.clone(),
            registration_time_utc: self.registered.0,
            service_type: Some(self.service_type),
            uri_spec: self.uri_spec.clone(),
            enabled: self.enabled,
        };
        serde_json::to_vec(&json).expect("texts, numbers and JSON always make JSON")
    }
}

fn port(field: &'static str, written: Option<i64>) -> Result<Option<u16>, InstanceError> {
    match written {
        None | Some(i64::MIN..=0) => Ok(None),
        Some(value) => u16::try_from(value).map(Some).map_err(|_| InstanceError::Port { field, value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by curator-x-discovery 5.4.0.
    const CURATOR: &str = r#"{"name":"svc","id":"90b4c9ce-5a1c-4e1b-a2c9-8a7e3c2b1d10","address":"10.0.0.1","port":8080,"sslPort":null,"payload":null,"registrationTimeUTC":1795417852367,"serviceType":"DYNAMIC","uriSpec":{"parts":[{"value":"scheme","variable":true},{"value":"://","variable":false}]}}"#;

    fn read(text: &str) -> Result<ServiceInstance, InstanceError> {
        ServiceInstance::from_json(text.as_bytes())
    }

    #[test]
    fn what_curator_writes_is_read_and_written_back_byte_for_byte() {
        let instance = read(CURATOR).expect("an instance");
        assert_eq!((instance.address.as_deref(), instance.port), (Some("10.0.0.1"), Some(8080)));
        assert_eq!((instance.ssl_port, instance.payload.as_ref(), instance.enabled), (None, None, true));
        assert_eq!(instance.registered, Millis(1_795_417_852_367));
        assert_eq!(String::from_utf8(instance.to_json()).expect("UTF-8"), CURATOR);
    }

    #[test]
    fn fields_that_are_missing_or_unknown_do_no_harm() {
        let least = r#"{"name":"svc","id":"a","address":"h","port":1,"newer":{"a":[1]}}"#;
        let instance = read(least).expect("an instance");
        assert_eq!(instance.service_type, ServiceType::Dynamic);
        assert_eq!(instance, ServiceInstance::new("svc", "a", "h", 1, Millis(0)));
        let types = ["STATIC", "DYNAMIC", "PERMANENT", "DYNAMIC_SEQUENTIAL"];
        for each in types {
            let text = CURATOR.replace("DYNAMIC", each);
            let written = read(&text).expect("an instance").to_json();
            assert_eq!(String::from_utf8(written).expect("UTF-8"), text);
        }
        assert!(
            !read(&CURATOR.replace("\"uriSpec\"", "\"enabled\":false,\"uriSpec\"")).expect("read").enabled
        );
    }

    #[test]
    fn a_port_that_is_not_served_is_none_and_one_that_cannot_be_is_an_error() {
        for none in ["null", "0", "-1"] {
            assert_eq!(read(&CURATOR.replace("8080", none)).expect("an instance").port, None, "{none}");
        }
        assert!(matches!(
            read(&CURATOR.replace("8080", "65536")),
            Err(InstanceError::Port { field: "port", value: 65536 })
        ));
        for bad in ["", "{}", "[]", "hello", &CURATOR.replace("DYNAMIC", "ETERNAL")] {
            assert!(matches!(read(bad), Err(InstanceError::Json(_))), "{bad}");
        }
    }
}
