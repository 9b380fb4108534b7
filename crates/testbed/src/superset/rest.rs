//! Requests to Superset's REST API.

use std::collections::BTreeMap;
use std::fmt;

use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{NAME, Superset};
use crate::Error;

/// A log-in, as Superset's bearer token.
#[derive(Clone)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token(..)")
    }
}

/// An answer: the HTTP status and the body; a body that is not JSON is a [`Value::String`].
pub type Answer = (u16, Value);

impl Superset {
    /// Logs a user in.
    ///
    /// # Errors
    /// If the server refuses or does not answer.
    pub async fn login(&self, user: &str, password: &str) -> Result<Token, Error> {
        let body = json!({"username": user, "password": password, "provider": "db", "refresh": true});
        let path = "/api/v1/security/login";
        let answer = self.answer(path, self.client.post(self.at(path)).json(&body)).await?;
        let refused = || refused(path, &answer);
        answer.1["access_token"].as_str().map(|token| Token(token.to_owned())).ok_or_else(refused)
    }

    /// GET of a path such as `/api/v1/chart/?q=(page_size:100)`.
    ///
    /// # Errors
    /// If the server does not answer; a refusal is an answer.
    pub async fn get(&self, token: &Token, path: &str) -> Result<Answer, Error> {
        self.answer(path, self.request(Method::GET, token, path)).await
    }

    /// POST of a JSON body.
    ///
    /// # Errors
    /// If the server does not answer; a refusal is an answer.
    pub async fn post(&self, token: &Token, path: &str, body: &Value) -> Result<Answer, Error> {
        self.answer(path, self.request(Method::POST, token, path).json(body)).await
    }

    /// PUT of a JSON body.
    ///
    /// # Errors
    /// If the server does not answer; a refusal is an answer.
    pub async fn put(&self, token: &Token, path: &str, body: &Value) -> Result<Answer, Error> {
        self.answer(path, self.request(Method::PUT, token, path).json(body)).await
    }

    /// DELETE.
    ///
    /// # Errors
    /// If the server does not answer; a refusal is an answer.
    pub async fn delete(&self, token: &Token, path: &str) -> Result<Answer, Error> {
        self.answer(path, self.request(Method::DELETE, token, path)).await
    }

    /// GET of bytes, such as the zip of `/api/v1/assets/export/`.
    ///
    /// # Errors
    /// If the server does not answer; a refusal is an answer.
    pub async fn get_bytes(&self, token: &Token, path: &str) -> Result<(u16, Vec<u8>), Error> {
        let ask = async {
            let answer = self.request(Method::GET, token, path).send().await?;
            Ok((answer.status().as_u16(), answer.bytes().await?.to_vec()))
        };
        ask.await.map_err(no_answer(path))
    }

    /// POST of a zip as Superset's importers want it: `/api/v1/assets/import/` with `field` `bundle`,
    /// `/api/v1/chart/import/` and the like with `formData`.
    ///
    /// # Errors
    /// If the server does not answer; a refusal is an answer.
    pub async fn post_zip(
        &self,
        token: &Token,
        path: &str,
        field: &str,
        zip: Vec<u8>,
    ) -> Result<Answer, Error> {
        let form = Form::new()
            .part(field.to_owned(), Part::bytes(zip).file_name("bundle.zip"))
            .text("overwrite", "true")
            .text("passwords", "{}");
        self.answer(path, self.request(Method::POST, token, path).multipart(form)).await
    }

    /// The roles' ids by name.
    ///
    /// # Errors
    /// If the server refuses or does not answer.
    pub async fn roles(&self, admin: &Token) -> Result<BTreeMap<String, i64>, Error> {
        let path = "/api/v1/security/roles/?q=(page_size:1000)";
        let answer = self.get(admin, path).await?;
        let roles = answer.1["result"].as_array().ok_or_else(|| refused(path, &answer))?;
        Ok(roles
            .iter()
            .filter_map(|role| Some((role["name"].as_str()?.to_owned(), role["id"].as_i64()?)))
            .collect())
    }

    /// Makes a role without rights, and returns its id.
    ///
    /// # Errors
    /// If the server refuses or does not answer.
    pub async fn create_role(&self, admin: &Token, name: &str) -> Result<i64, Error> {
        let path = "/api/v1/security/roles/";
        let answer = self.post(admin, path, &json!({"name": name})).await?;
        answer.1["id"].as_i64().ok_or_else(|| refused(path, &answer))
    }

    /// Sets the rights of a role: ids of `ab_permission_view`, as `/api/v1/security/permissions-resources/` lists
    /// them.
    ///
    /// # Errors
    /// If the server refuses or does not answer.
    pub async fn grant(&self, admin: &Token, role: i64, rights: &[i64]) -> Result<(), Error> {
        let path = format!("/api/v1/security/roles/{role}/permissions");
        let answer = self.post(admin, &path, &json!({"permission_view_menu_ids": rights})).await?;
        if answer.0 == 200 { Ok(()) } else { Err(refused(&path, &answer)) }
    }

    /// Makes a user with the roles of these ids.
    ///
    /// # Errors
    /// If the server refuses or does not answer.
    pub async fn create_user(
        &self,
        admin: &Token,
        name: &str,
        password: &str,
        roles: &[i64],
    ) -> Result<(), Error> {
        let path = "/api/v1/security/users/";
        let body = json!({
            "username": name, "first_name": name, "last_name": name, "email": format!("{name}@example.org"),
            "password": password, "active": true, "roles": roles,
        });
        let answer = self.post(admin, path, &body).await?;
        if answer.0 == 201 { Ok(()) } else { Err(refused(path, &answer)) }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url())
    }

    fn request(&self, method: Method, token: &Token, path: &str) -> RequestBuilder {
        self.client.request(method, self.at(path)).bearer_auth(&token.0)
    }

    async fn answer(&self, path: &str, request: RequestBuilder) -> Result<Answer, Error> {
        let ask = async {
            let answer = request.send().await?;
            let status = answer.status().as_u16();
            let text = answer.text().await?;
            Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
        };
        ask.await.map_err(no_answer(path))
    }
}

fn no_answer(path: &str) -> impl FnOnce(reqwest::Error) -> Error {
    let question = path.to_owned();
    move |source| Error::Ask { name: NAME, question, source: source.into() }
}

fn refused(path: &str, answer: &Answer) -> Error {
    Error::Refused { name: NAME, question: path.to_owned(), status: answer.0, body: answer.1.to_string() }
}
