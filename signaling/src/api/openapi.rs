//! The description of the API in OpenAPI 3.1, made from the list of operations.

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::PREFIX;
use crate::code::Code;

/// One operation, for its route and its description.
#[derive(Clone, Debug)]
pub struct Operation {
    pub method: Method,
    /// Below [`PREFIX`], with `{parameters}`.
    pub path: &'static str,
    pub summary: &'static str,
    pub query: &'static [Field],
    pub body: &'static [Field],
    /// The status of the answer.
    pub success: u16,
    /// Asks for the operator's key instead of the app's secret.
    pub admin: bool,
}

/// A parameter of the query or a field of the body.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    pub doc: &'static str,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Text,
    Number,
    Flag,
    Texts,
    /// A room: a number or a text.
    Room,
}

impl Operation {
    pub const fn new(method: Method, path: &'static str, summary: &'static str) -> Operation {
        Operation { method, path, summary, query: &[], body: &[], success: 200, admin: false }
    }
}

/// A field that may be left out.
pub const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, required: false, doc }
}

pub const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, required: true, doc }
}

impl Kind {
    fn schema(self) -> Value {
        match self {
            Kind::Text => json!({ "type": "string" }),
            Kind::Number => json!({ "type": "integer", "minimum": 0 }),
            Kind::Flag => json!({ "type": "boolean" }),
            Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
            Kind::Room => json!({ "type": ["integer", "string"] }),
        }
    }
}

/// The whole document.
pub fn document(operations: &[Operation]) -> Value {
    let mut paths = Map::new();
    for operation in operations {
        let path = paths.entry(format!("{PREFIX}{}", operation.path)).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_ascii_lowercase()] = describe(operation);
    }
    let codes: Vec<String> = Code::ALL.iter().map(|code| format!("{} {}", code.number(), code.message())).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "roomcast",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Rooms, members and tickets, for the owner's own server.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "secret": { "type": "http", "scheme": "bearer", "description": "The app's secret." },
                "admin": { "type": "http", "scheme": "bearer", "description": "The operator's api.admin_key." },
            },
            "schemas": {
                "Refusal": {
                    "type": "object",
                    "description": codes.join("; "),
                    "properties": {
                        "code": { "type": "integer" },
                        "message": { "type": "string" },
                        "advice": { "type": "string" },
                        "field": { "type": "string" },
                    },
                    "required": ["code", "message", "advice"],
                },
            },
        },
    })
}

fn describe(operation: &Operation) -> Value {
    let in_path = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    parameters.extend(operation.query.iter().map(|field| {
        let schema = field.kind.schema();
        json!({ "name": field.name, "in": "query", "required": field.required, "schema": schema, "description": field.doc })
    }));
    let refusal = json!({
        "description": "refused",
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Refusal" } } },
    });
    let mut responses = Map::new();
    let mut success = json!({ "description": "done" });
    if operation.success != 204 {
        success["content"] = json!({ "application/json": { "schema": { "type": "object" } } });
    }
    responses.insert(operation.success.to_string(), success);
    responses.insert("401".to_owned(), refusal.clone());
    responses.insert("default".to_owned(), refusal);
    let scheme = if operation.admin { "admin" } else { "secret" };
    let mut described = json!({
        "summary": operation.summary,
        "security": [{ scheme: [] }],
        "parameters": parameters,
        "responses": responses,
    });
    if !operation.body.is_empty() {
        let properties: Map<String, Value> = operation
            .body
            .iter()
            .map(|field| {
                let mut schema = field.kind.schema();
                schema["description"] = field.doc.into();
                (field.name.to_owned(), schema)
            })
            .collect();
        let required: Vec<&str> =
            operation.body.iter().filter(|field| field.required).map(|field| field.name).collect();
        described["requestBody"] = json!({
            "required": !required.is_empty(),
            "content": { "application/json": {
                "schema": { "type": "object", "properties": properties, "required": required }
            } },
        });
    }
    described
}
