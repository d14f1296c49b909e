//! `/openapi.json`: made of the routes, with what all of them share added here, so that no route repeats it.

use std::sync::Arc;

use axum::Extension;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::problem::{Code, ProblemBody};

/// The text of the document.
#[derive(Clone)]
pub struct Document(Arc<str>);

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(document))
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = "service",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
async fn document(Extension(Document(text)): Extension<Document>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], text.to_string())
}

impl Document {
    pub fn new(routes: &OpenApi) -> Self {
        let mut document = serde_json::to_value(routes).unwrap_or_default();
        document["info"] = json!({
            "title": "Garim",
            "version": "v1",
            "description": "Covers every face in videos except those of people who agreed to be seen. \
                Errors are problem+json (RFC 9457) with a stable `code`.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        });
        let components = &mut document["components"];
        components["securitySchemes"]["key"] = json!({
            "type": "http",
            "scheme": "bearer",
            "description": "An API key: `garim key create`, or POST /v1/keys.",
        });
        components["schemas"]["Problem"] = schema::<ProblemBody>();
        components["schemas"]["Code"] = schema::<Code>();
        if let Some(paths) = document["paths"].as_object_mut() {
            for operations in paths.values_mut().filter_map(Value::as_object_mut) {
                for (method, operation) in operations {
                    complete(method, operation);
                }
            }
        }
        let text = serde_json::to_string_pretty(&document).unwrap_or_default();
        Self((text + "\n").into())
    }
}

fn schema<T: ToSchema + PartialSchema>() -> Value {
    serde_json::to_value(T::schema()).unwrap_or_default()
}

/// Adds what the layers of the router answer, and the headers that they read.
fn complete(method: &str, operation: &mut Value) {
    // The reason why there is a body (or none) is the route's own.
    let has_body = operation.get("requestBody").is_some();
    let keyed =
        operation["security"].as_array().is_some_and(|all| all.iter().all(|s| s != &json!({})));
    let mut statuses: Vec<(&str, &str)> = vec![("500", "The server failed"), ("503", "Try again")];
    if keyed {
        statuses.extend([
            ("400", "The request makes no sense"),
            ("401", "There is no valid key"),
            ("403", "The key lacks the scope"),
            ("404", "There is no such thing, or it is somebody else's"),
            ("408", "The body took too long"),
            ("413", "The body is too large"),
            ("422", "A value makes no sense, such as the name in Garim-User"),
            ("429", "Too many requests"),
        ]);
        let user = json!({
            "name": "Garim-User", "in": "header", "required": false,
            "description": "The user that it is about, where that is not the key's own; needs the scope admin",
            "schema": {"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,62}$"},
        });
        add_parameter(operation, user);
    }
    if has_body {
        statuses.push(("415", "The body is of the wrong type"));
    }
    if keyed && method == "post" {
        statuses.push(("409", "Its state, or a request with this idempotency key, is in the way"));
        parameter(
            operation,
            "Idempotency-Key",
            "Sent again with the same key, the request does nothing again",
            json!({"type": "string", "minLength": 1, "maxLength": 255}),
        );
    }
    if keyed
        && method == "get"
        && operation["responses"]["200"]["content"].get("application/json").is_some()
    {
        parameter(
            operation,
            "If-None-Match",
            "ETag of what the client has",
            json!({"type": "string"}),
        );
        let tag = json!({"schema": {"type": "string"}, "description": "Hash of the answer"});
        operation["responses"]["200"]["headers"]["ETag"] = tag.clone();
        operation["responses"]["304"] =
            json!({"description": "The client has it", "headers": {"ETag": tag}});
    }
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        if parameter["name"] == "Tus-Resumable" {
            parameter["schema"]["enum"] = json!(["1.0.0"]);
        }
    }
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (status, description) in statuses {
        responses.entry(status).or_insert_with(|| problem(description));
    }
}

fn problem(description: &str) -> Value {
    let schema = json!({"$ref": "#/components/schemas/Problem"});
    json!({"description": description, "content": {"application/problem+json": {"schema": schema}}})
}

fn parameter(operation: &mut Value, name: &str, description: &str, schema: Value) {
    let parameter = json!({
        "name": name, "in": "header", "required": false, "description": description,
        "schema": schema,
    });
    add_parameter(operation, parameter);
}

fn add_parameter(operation: &mut Value, parameter: Value) {
    match operation["parameters"].as_array_mut() {
        Some(list) => list.push(parameter),
        None => operation["parameters"] = json!([parameter]),
    }
}
