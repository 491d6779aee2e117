//! The part of the OpenAPI document that is data: the records of every register that is on, with its own fields, states and transitions.
//!
//! The document of the program describes registers in general (`/registers/{kind}/…`); the one that a node serves adds a path for each. Start at
//! [`with_registers`].

use anlan_app::pack::Registers;
use anlan_domain::register::{Field, FieldType, Kind, Owner, Transition};
use serde_json::{Map, Value, json};

/// The document with a path for every register that is on.
pub(crate) fn with_registers(mut document: Value, registers: &Registers) -> Value {
    for (kind, _) in registers.kinds.values() {
        let at = format!("/api/v1/registers/{}/records", kind.id);
        let tag = format!("{} · {}", kind.name, kind.name_en);
        let record =
            json!({"allOf": [{"$ref": "#/components/schemas/Record"}, {"type": "object", "properties": {"fields": fields(kind, None)}}]});
        document["components"]["schemas"][format!("{}_record", kind.id)] = record;
        let record = reference(&format!("{}_record", kind.id));
        document["paths"][at.as_str()] = json!({
            "get": operation(&tag, &format!("{}列表 · Lists {}", kind.name, kind.name_en), parameters(kind), None, "200", list(&record)),
            "post": operation(&tag, &format!("新增{} · Makes a record: {}", kind.name, kind.name_en), json!([]), Some(creation(kind)), "201", record.clone()),
        });
        let id = json!({"name": "id", "in": "path", "required": true, "schema": {"type": "string"}});
        for transition in kind.transitions.iter().filter(|t| !t.from.contains(&kind.start)) {
            let body = json!({
                "type": "object", "required": ["revision", "fields"], "additionalProperties": false,
                "properties": {"revision": {"type": "integer", "format": "int64"}, "fields": fields(kind, Some(transition))},
            });
            let summary = format!("{} · {}", transition.name, transition.name_en);
            let mut taken = operation(&tag, &summary, json!([id.clone()]), Some(body), "200", record.clone());
            taken["description"] = told(kind, transition).into();
            document["paths"][format!("{at}/{{id}}/transitions/{}", transition.id)] = json!({"post": taken});
        }
    }
    document
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn list(record: &Value) -> Value {
    json!({"type": "object", "required": ["records", "next"], "properties": {
        "records": {"type": "array", "items": record}, "next": {"type": ["string", "null"]},
    }})
}

fn operation(tag: &str, summary: &str, parameters: Value, body: Option<Value>, status: &str, answer: Value) -> Value {
    let mut operation = json!({
        "tags": [tag], "summary": summary, "parameters": parameters,
        "responses": {
            status: {"description": "", "content": {"application/json": {"schema": answer}}},
            "default": {"description": "Refused", "content": {"application/json": {"schema": reference("Problems")}}},
        },
    });
    if let Some(body) = body {
        operation["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": body}}});
    }
    operation
}

fn parameters(kind: &Kind) -> Value {
    let query = |name: String, schema: Value| json!({"name": name, "in": "query", "required": false, "schema": schema});
    let mut all = vec![
        query("q".to_owned(), json!({"type": "string"})),
        query("state".to_owned(), json!({"type": "string", "enum": kind.states.iter().map(|s| &s.id).collect::<Vec<_>>()})),
        query("overdue".to_owned(), json!({"type": "boolean"})),
        query("cursor".to_owned(), json!({"type": "string"})),
        query("limit".to_owned(), json!({"type": "integer", "minimum": 1, "maximum": 1000})),
    ];
    for field in kind.filter.iter().filter_map(|id| kind.field(id)) {
        let name = format!("f.{}", field.id);
        if matches!(field.of, FieldType::Date | FieldType::DateTime | FieldType::Number { .. }) {
            all.push(query(format!("{name}.from"), schema(field)));
            all.push(query(format!("{name}.to"), schema(field)));
        }
        all.push(query(name, schema(field)));
    }
    all.into()
}

/// What makes a record: one body for each transition from the start.
fn creation(kind: &Kind) -> Value {
    let owners: &[&str] = match kind.owner {
        Owner::Enterprise => &["enterprise"],
        Owner::Region => &["region"],
        Owner::Either => &["enterprise", "region"],
        Owner::Everyone => &[],
    };
    let body = |t: &Transition| {
        let mut body = json!({
            "type": "object", "title": t.name_en, "required": ["transition", "fields"], "additionalProperties": false,
            "properties": {"transition": {"const": t.id}, "fields": fields(kind, Some(t))},
        });
        // One of the two where there are two: the server says so.
        if let [owner] = owners {
            body["required"] = json!([owner, "transition", "fields"]);
        }
        for owner in owners {
            body["properties"][owner] = json!({"type": "string"});
        }
        body
    };
    let bodies: Vec<Value> = kind.transitions.iter().filter(|t| t.from.contains(&kind.start)).map(body).collect();
    json!({"oneOf": bodies})
}

/// The fields of a record, or those that a transition sets.
fn fields(kind: &Kind, transition: Option<&Transition>) -> Value {
    let is_set = |id: &str| transition.is_none_or(|t| t.require.iter().chain(&t.may).any(|own| own == id));
    let properties: Map<String, Value> =
        kind.fields.iter().filter(|f| is_set(&f.id)).map(|field| (field.id.clone(), schema(field))).collect();
    let mut object = json!({"type": "object", "properties": properties});
    if let Some(transition) = transition {
        object["additionalProperties"] = false.into();
        // What an earlier step filled need not come again.
        let from_start = transition.from.contains(&kind.start);
        object["required"] = json!(if from_start { &transition.require } else { &transition.fresh });
    }
    object
}

fn schema(field: &Field) -> Value {
    let mut schema = match &field.of {
        FieldType::Text { max } => json!({"type": "string", "minLength": 1, "maxLength": max}),
        FieldType::Number { min, max, .. } => {
            let mut schema = json!({"type": "number"});
            if let Some(min) = min {
                schema["minimum"] = json!(min);
            }
            if let Some(max) = max {
                schema["maximum"] = json!(max);
            }
            schema
        }
        FieldType::Date => json!({"type": "string", "format": "date"}),
        FieldType::DateTime => json!({"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}$"}),
        FieldType::Choice { choices } => json!({"type": "string", "enum": choices.iter().map(|c| &c.id).collect::<Vec<_>>()}),
        FieldType::Person | FieldType::Record { .. } => json!({"type": "string"}),
        FieldType::Place => reference("Place"),
        FieldType::File { max, .. } => {
            json!({"type": "array", "minItems": 1, "maxItems": max, "uniqueItems": true, "items": {"type": "string"}})
        }
        FieldType::Table { columns, rows_max } => {
            let properties: Map<String, Value> = columns.iter().map(|c| (c.id.clone(), self::schema(c))).collect();
            let row = json!({"type": "object", "additionalProperties": false, "minProperties": 1, "properties": properties});
            json!({"type": "array", "minItems": 1, "maxItems": rows_max, "items": row})
        }
    };
    let unit = match &field.of {
        FieldType::Number { unit, .. } if !unit.is_empty() => format!(" ({unit})"),
        _ => String::new(),
    };
    // A sibling of $ref is fine in OpenAPI 3.1.
    schema["description"] = format!("{} · {}{unit}", field.name, field.name_en).into();
    if field.compute.is_some() {
        schema["readOnly"] = true.into();
    }
    schema
}

/// Who may take it and what stands against it, in words.
fn told(kind: &Kind, transition: &Transition) -> String {
    let from: Vec<&str> = transition.from.iter().filter_map(|id| kind.state(id)).map(|s| s.name_en.as_str()).collect();
    let mut text = format!("From: {}. Roles: {}.", from.join(", "), transition.who.join(", "));
    for guard in &transition.guards {
        text.push_str(&format!("\n- `{}`: {}", guard.id, guard.says_en));
    }
    text
}
