//! The public API client, unmodified.

use authentik_client::apis::configuration::Configuration;
use authentik_client::apis::{
    Error, admin_api, core_api, flows_api, outposts_api, policies_api, propertymappings_api, providers_api, root_api,
};
use authentik_client::models::{
    ApplicationRequest, GroupRequest, IntentEnum, PatchedApplicationRequest, PatchedGroupRequest,
    PatchedOutpostRequest, PatchedPolicyBindingRequest, PatchedProxyProviderRequest, PatchedTokenRequest,
    PatchedUserRequest, PolicyBindingRequest, ProxyMode, ProxyProviderRequest, TokenRequest, TokenSetKeyRequest,
    UserAccountRequest, UserPasswordSetRequest, UserRequest, UserServiceAccountRequest, UserTypeEnum,
};
use portcullis_testkit::{Go as _, Site, api::fresh, http, run};
use serde_json::{Value, json};

use crate::stage::shared;

fn client(site: &Site, token: Option<&str>) -> Configuration {
    Configuration {
        base_path: site.url("/api/v3"),
        bearer_access_token: token.map(str::to_owned),
        ..Configuration::new()
    }
}

/// The status and body of an error answer.
fn refusal<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, Error<E>>) -> (u16, Value) {
    match result {
        Err(Error::ResponseError(answer)) => {
            (answer.status.as_u16(), serde_json::from_str(&answer.content).expect("a JSON body"))
        }
        other => panic!("an error answer was expected: {other:?}"),
    }
}

/// CO-596, CO-540: users by the public client: create, read, list, update, delete.
#[test]
fn co_540_users_by_the_public_client() {
    run(async {
        let site = shared().await;
        let client = client(site, Some(&site.token));
        let name = fresh("client-user");
        let mut request = UserRequest::new(name.clone(), "A User".to_owned());
        request.email = Some("user@example.org".to_owned());
        request.attributes = Some([("color".to_owned(), json!({"deep": [1, 2.5, null]}))].into());
        let user = core_api::core_users_create(&client, request.clone()).await.unwrap();
        assert_eq!((user.username.as_str(), user.is_active, user.is_superuser), (name.as_str(), Some(true), false));
        let read = core_api::core_users_retrieve(&client, user.pk).await.unwrap();
        assert_eq!(
            (read.uuid, read.attributes, read.r#type),
            (user.uuid, request.attributes.clone(), Some(UserTypeEnum::Internal))
        );
        let list = users(&client, Some(&name), None, None).await;
        assert_eq!((list.results.len(), list.pagination.count as i64), (1, 1));
        let mut patch = PatchedUserRequest::new();
        patch.name = Some("Another Name".to_owned());
        let patched = core_api::core_users_partial_update(&client, user.pk, Some(patch)).await.unwrap();
        assert_eq!((patched.name.as_str(), patched.email.as_deref()), ("Another Name", Some("user@example.org")));
        request.is_active = Some(false);
        let put = core_api::core_users_update(&client, user.pk, request).await.unwrap();
        assert_eq!((put.name.as_str(), put.is_active), ("A User", Some(false)));
        let password = UserPasswordSetRequest::new("correct horse battery".to_owned());
        core_api::core_users_set_password_create(&client, user.pk, password).await.unwrap();
        let me = core_api::core_users_me_retrieve(&client).await.unwrap();
        assert_eq!((me.user.username.as_str(), me.user.is_superuser), ("akadmin", true));
        core_api::core_users_destroy(&client, user.pk).await.unwrap();
        let (status, body) = refusal(core_api::core_users_retrieve(&client, user.pk).await);
        assert_eq!((status, body), (404, json!({"detail": "No User matches the given query."})));
    });
}

async fn users(
    client: &Configuration,
    username: Option<&str>,
    page: Option<i32>,
    page_size: Option<i32>,
) -> authentik_client::models::PaginatedUserList {
    core_api::core_users_list(
        client,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        Some("username"),
        page,
        page_size,
        None,
        None,
        None,
        None,
        None,
        None,
        username,
        None,
    )
    .await
    .unwrap()
}

/// CO-524: lists are cut into pages that neither repeat nor skip, and a page too far is not found.
#[test]
fn co_524_lists_have_pages() {
    run(async {
        let site = Site::start().await;
        let client = client(&site, Some(&site.token));
        for _ in 0..7 {
            core_api::core_users_create(&client, UserRequest::new(fresh("page"), String::new())).await.unwrap();
        }
        let mut names = Vec::new();
        let mut page = 1;
        loop {
            let list = users(&client, None, Some(page), Some(3)).await;
            assert_eq!(list.pagination.count as usize, 8);
            names.extend(list.results.into_iter().map(|user| user.username));
            if list.pagination.next as i32 == 0 {
                break;
            }
            page = list.pagination.next as i32;
        }
        assert_eq!((names.len(), page), (8, 3));
        assert!(names.is_sorted());
        let reply = site.api.call("GET", "core/users/?page=99", None).await;
        assert_eq!((reply.status, reply.json()), (404, json!({"detail": "Invalid page."})));
    });
}

/// CO-596, CO-547, CO-548: groups by the public client, membership included.
#[test]
fn co_547_groups_by_the_public_client() {
    run(async {
        let site = shared().await;
        let client = client(site, Some(&site.token));
        let user =
            core_api::core_users_create(&client, UserRequest::new(fresh("member"), String::new())).await.unwrap();
        let parent = core_api::core_groups_create(&client, GroupRequest::new(fresh("parent"))).await.unwrap();
        let mut request = GroupRequest::new(fresh("group"));
        request.attributes = Some([("team".to_owned(), json!("blue"))].into());
        request.parents = Some(vec![parent.pk]);
        let group = core_api::core_groups_create(&client, request.clone()).await.unwrap();
        let id = group.pk.to_string();
        core_api::core_groups_add_user_create(&client, &id, UserAccountRequest::new(user.pk)).await.unwrap();
        let read = core_api::core_groups_retrieve(&client, &id, None, None, None, None).await.unwrap();
        assert_eq!(
            (read.users, read.attributes, read.parents),
            (Some(vec![user.pk]), request.attributes, request.parents)
        );
        let list = core_api::core_groups_list(
            &client,
            None,
            None,
            None,
            None,
            None,
            None,
            Some(vec![user.pk]),
            None,
            None,
            None,
            None,
            None,
            None,
        );
        assert_eq!(list.await.unwrap().results.len(), 1);
        let mut patch = PatchedGroupRequest::new();
        patch.is_superuser = Some(true);
        core_api::core_groups_partial_update(&client, &id, Some(patch)).await.unwrap();
        assert!(core_api::core_users_retrieve(&client, user.pk).await.unwrap().is_superuser);
        core_api::core_groups_remove_user_create(&client, &id, UserAccountRequest::new(user.pk)).await.unwrap();
        assert!(!core_api::core_users_retrieve(&client, user.pk).await.unwrap().is_superuser);
        let unknown = core_api::core_groups_add_user_create(&client, &id, UserAccountRequest::new(999_999)).await;
        assert_eq!(refusal(unknown).0, 404);
        core_api::core_groups_destroy(&client, &id).await.unwrap();
        assert_eq!(refusal(core_api::core_groups_retrieve(&client, &id, None, None, None, None).await).0, 404);
    });
}

/// CO-596, CO-549, CO-550: app passwords by the public client, keys included.
#[test]
fn co_549_tokens_by_the_public_client() {
    run(async {
        let site = shared().await;
        let client = client(site, Some(&site.token));
        let user = core_api::core_users_create(&client, UserRequest::new(fresh("owner"), String::new())).await.unwrap();
        let identifier = fresh("client-token-");
        let mut request = TokenRequest::new(identifier.clone());
        request.intent = Some(IntentEnum::AppPassword);
        request.user = Some(user.pk);
        request.description = Some("for the mail program".to_owned());
        let token = core_api::core_tokens_create(&client, request).await.unwrap();
        assert_eq!((token.user_obj.pk, token.expiring), (user.pk, Some(true)));
        assert!(token.expires.flatten().is_some());
        let key = core_api::core_tokens_view_key_retrieve(&client, &identifier).await.unwrap().key;
        assert!(key.len() >= 40, "{}", key.len());
        let set = TokenSetKeyRequest::new("a key that was chosen".to_owned());
        core_api::core_tokens_set_key_create(&client, &identifier, set).await.unwrap();
        let key = core_api::core_tokens_view_key_retrieve(&client, &identifier).await.unwrap().key;
        assert_eq!(key, "a key that was chosen");
        let mut patch = PatchedTokenRequest::new();
        patch.description = Some("changed".to_owned());
        core_api::core_tokens_partial_update(&client, &identifier, Some(patch)).await.unwrap();
        let read = core_api::core_tokens_retrieve(&client, &identifier).await.unwrap();
        assert_eq!((read.description.as_deref(), read.intent), (Some("changed"), Some(IntentEnum::AppPassword)));
        let list = core_api::core_tokens_list(
            &client,
            None,
            None,
            None,
            None,
            Some(IntentEnum::AppPassword),
            None,
            None,
            None,
            None,
            None,
            Some(&user.username),
        );
        assert_eq!(list.await.unwrap().results.len(), 1);
        core_api::core_tokens_destroy(&client, &identifier).await.unwrap();
        assert_eq!(refusal(core_api::core_tokens_retrieve(&client, &identifier).await).0, 404);
    });
}

/// CO-543: a service account comes with its token, and with a group if asked for.
#[test]
fn co_543_service_account_by_the_public_client() {
    run(async {
        let site = shared().await;
        let client = client(site, Some(&site.token));
        let mut request = UserServiceAccountRequest::new(fresh("robot"));
        request.create_group = Some(true);
        let made = core_api::core_users_service_account_create(&client, request).await.unwrap();
        assert!(made.group_pk.is_some() && !made.token.is_empty());
        let user = core_api::core_users_retrieve(&client, made.user_pk).await.unwrap();
        assert_eq!(user.r#type, Some(UserTypeEnum::ServiceAccount));
    });
}

/// CO-596, CO-551, CO-552, CO-557, CO-559, CO-561, CO-565, CO-569, CO-571: provider, application, binding and outpost by
/// the public client, from nothing to an application that answers.
#[test]
fn co_559_an_application_by_the_public_client() {
    run(async {
        let site = shared().await;
        let client = client(site, Some(&site.token));
        let flows = flows_api::flows_instances_list(&client, None, None, None, None, None, None, None, None, None);
        assert!(flows.await.unwrap().results.len() >= 4);
        let flow = async |slug: &str| flows_api::flows_instances_retrieve(&client, slug).await.unwrap().pk;
        let authorization = flow("default-provider-authorization-implicit-consent").await;
        let invalidation = flow("default-provider-invalidation-flow").await;
        let recorder = portcullis_testkit::Recorder::start().await;
        let external = format!("http://{}.localhost:{}", fresh("client"), site.port);
        let mut request = ProxyProviderRequest::new(fresh("provider"), authorization, invalidation, external.clone());
        request.internal_host = Some(recorder.url());
        request.skip_path_regex = Some("^/public/\n^/healthz$".to_owned());
        request.access_token_validity = Some("minutes=30".to_owned());
        let provider = providers_api::providers_proxy_create(&client, request.clone()).await.unwrap();
        let read = providers_api::providers_proxy_retrieve(&client, provider.pk).await.unwrap();
        assert_eq!((read.name.as_str(), read.external_host.as_str()), (request.name.as_str(), external.as_str()));
        assert_eq!((read.internal_host, read.skip_path_regex), (request.internal_host, request.skip_path_regex));
        assert_eq!((read.access_token_validity, read.mode), (request.access_token_validity, Some(ProxyMode::Proxy)));
        assert_eq!((read.intercept_header_auth, read.basic_auth_enabled), (Some(true), Some(false)));
        assert_eq!(read.property_mappings.map(|mappings| mappings.len()), Some(5), "PX-025");
        assert_eq!(read.redirect_uris.len(), 2, "PX-026");
        let mut patch = PatchedProxyProviderRequest::new();
        patch.intercept_header_auth = Some(false);
        let patched = providers_api::providers_proxy_partial_update(&client, provider.pk, Some(patch)).await.unwrap();
        assert_eq!(patched.intercept_header_auth, Some(false));
        let all =
            providers_api::providers_all_list(&client, Some(true), None, None, None, Some(100), None).await.unwrap();
        assert!(all.results.iter().any(|other| other.pk == provider.pk), "not assigned yet");

        let slug = fresh("client-app");
        let mut request = ApplicationRequest::new(slug.clone(), slug.clone());
        request.provider = Some(Some(provider.pk));
        let application = core_api::core_applications_create(&client, request).await.unwrap();
        assert_eq!(application.provider_obj.as_ref().map(|provider| provider.pk), Some(provider.pk));
        let mut patch = PatchedApplicationRequest::new();
        patch.meta_description = Some("what it is for".to_owned());
        core_api::core_applications_partial_update(&client, &slug, Some(patch)).await.unwrap();
        let read = core_api::core_applications_retrieve(&client, &slug).await.unwrap();
        assert_eq!(read.meta_description.as_deref(), Some("what it is for"));
        let found = core_api::core_applications_list(
            &client,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            Some(&slug),
            Some(true),
        );
        assert_eq!(found.await.unwrap().results.len(), 1);

        let outposts = async || {
            outposts_api::outposts_instances_list(
                &client,
                None,
                Some("goauthentik.io/outposts/embedded"),
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
            )
            .await
            .unwrap()
            .results
            .remove(0)
        };
        let outpost = outposts().await;
        let mut patch = PatchedOutpostRequest::new();
        patch.providers = Some(outpost.providers.iter().copied().chain([provider.pk]).collect());
        let patched = outposts_api::outposts_instances_partial_update(&client, &outpost.pk.to_string(), Some(patch))
            .await
            .unwrap();
        assert!(patched.providers.contains(&provider.pk));
        assert_eq!(http().get(format!("{external}/public/x")).go().await.status, 200);

        let user = core_api::core_users_create(&client, UserRequest::new(fresh("bound"), String::new())).await.unwrap();
        let access = async |user: i32| {
            core_api::core_applications_check_access_retrieve(&client, &slug, Some(user)).await.unwrap().passing
        };
        assert!(access(user.pk).await, "nobody is bound, everybody passes");
        let mut request = PolicyBindingRequest::new(application.pk, 0);
        request.user = Some(Some(user.pk));
        request.negate = Some(true);
        let binding = policies_api::policies_bindings_create(&client, request).await.unwrap();
        assert!(!access(user.pk).await, "negated");
        let id = binding.pk.to_string();
        let mut patch = PatchedPolicyBindingRequest::new();
        patch.negate = Some(false);
        policies_api::policies_bindings_partial_update(&client, &id, Some(patch)).await.unwrap();
        assert!(access(user.pk).await);
        let read = policies_api::policies_bindings_retrieve(&client, &id).await.unwrap();
        assert_eq!(
            (read.user, read.negate, read.enabled, read.order),
            (Some(Some(user.pk)), Some(false), Some(true), 0)
        );
        let target = application.pk.to_string();
        let list = policies_api::policies_bindings_list(
            &client,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            Some(&target),
            None,
            None,
        );
        assert_eq!(list.await.unwrap().results.len(), 1);
        policies_api::policies_bindings_destroy(&client, &id).await.unwrap();
        core_api::core_applications_destroy(&client, &slug).await.unwrap();
        providers_api::providers_proxy_destroy(&client, provider.pk).await.unwrap();
        assert_eq!(refusal(providers_api::providers_proxy_retrieve(&client, provider.pk).await).0, 404);
        assert_eq!(refusal(core_api::core_applications_retrieve(&client, &slug).await).0, 404);
        assert!(!outposts().await.providers.contains(&provider.pk));
    });
}

/// CO-560, CO-565, CO-556, CO-574, CO-575, CO-590, CO-592: the small resources that clients read on the way.
#[test]
fn co_565_small_resources_by_the_public_client() {
    run(async {
        let site = shared().await;
        let client = client(site, Some(&site.token));
        let policies = policies_api::policies_all_list(&client, None, None, None, None, None, None).await.unwrap();
        assert!(policies.results.is_empty());
        let managed = vec!["goauthentik.io/providers/proxy/scope-proxy".to_owned()];
        let list = propertymappings_api::propertymappings_provider_scope_list(
            &client,
            Some(managed),
            None,
            None,
            None,
            None,
            None,
            None,
            None,
        );
        let mapping = list.await.unwrap().results.remove(0);
        let id = mapping.pk.to_string();
        let read = propertymappings_api::propertymappings_provider_scope_retrieve(&client, &id).await.unwrap();
        assert_eq!(read.scope_name, "ak_proxy");
        let version = admin_api::admin_version_retrieve(&client).await.unwrap();
        assert!(version.build_hash.starts_with("portcullis-"), "{version:?}");
        let anonymous = self::client(site, None);
        let config = root_api::root_config_retrieve(&anonymous).await.unwrap();
        assert!(!config.error_reporting.enabled);
        core_api::core_brands_current_retrieve(&anonymous).await.unwrap();
    });
}

/// CO-523: a validation error names the field, in a list of sentences.
#[test]
fn co_523_validation_errors_have_their_shape() {
    run(async {
        let site = shared().await;
        let client = client(site, Some(&site.token));
        let blank = core_api::core_users_create(&client, UserRequest::new(String::new(), "x".to_owned())).await;
        assert_eq!(refusal(blank), (400, json!({"username": ["This field may not be blank."]})));
        let name = fresh("taken");
        core_api::core_users_create(&client, UserRequest::new(name.clone(), String::new())).await.unwrap();
        let (status, body) = refusal(core_api::core_users_create(&client, UserRequest::new(name, String::new())).await);
        assert_eq!(status, 400);
        assert!(body["username"].is_array(), "{body}");
        for (path, body, expected) in [
            (
                "core/users/",
                json!({}),
                json!({"username": ["This field is required."], "name": ["This field is required."]}),
            ),
            ("core/groups/", json!({"name": null}), json!({"name": ["This field may not be null."]})),
            (
                "core/applications/",
                json!({"name": "x", "slug": fresh("s"), "provider": 999_999}),
                json!({"provider": ["Invalid pk \"999999\" - object does not exist."]}),
            ),
        ] {
            let reply = site.api.call("POST", path, Some(&body)).await;
            assert_eq!((reply.status, reply.json()), (400, expected), "{path}");
        }
    });
}

/// CO-521, CO-522, CO-529: who presents nothing, nonsense or too little gets 403 in the shape that clients know.
#[test]
fn co_522_refusals_have_their_shape() {
    run(async {
        let site = shared().await;
        let detail = |text: &str| (403, json!({"detail": text}));
        let none = core_api::core_users_me_retrieve(&client(site, None)).await;
        assert_eq!(refusal(none), detail("Authentication credentials were not provided."));
        let bad = core_api::core_users_me_retrieve(&client(site, Some("wrong"))).await;
        assert_eq!(refusal(bad), detail("Token invalid/expired"));
        let person = site.api.person("plain").await;
        let identifier = fresh("api-token-");
        let token = json!({"identifier": identifier, "intent": "api", "user": person.pk});
        site.api.post("core/tokens/", token).await;
        let key = site.api.get(&format!("core/tokens/{identifier}/view_key/")).await;
        let plain = client(site, Some(key["key"].as_str().unwrap()));
        let me = core_api::core_users_me_retrieve(&plain).await.unwrap();
        assert_eq!(me.user.username, person.username);
        let refused = core_api::core_users_create(&plain, UserRequest::new(fresh("x"), String::new())).await;
        assert_eq!(refusal(refused), detail("You do not have permission to perform this action."));
        let (_, app_password) = site.api.app_password(&person).await;
        let wrong_intent = core_api::core_users_me_retrieve(&client(site, Some(&app_password))).await;
        assert_eq!(refusal(wrong_intent), detail("Token invalid/expired"));
        let reply = site.api.call("GET", "core/users/me", None).await;
        assert_eq!(reply.status, 404, "CO-520: without the final slash");
        let reply = site.api.call("GET", "no/such/thing/", None).await;
        assert_eq!((reply.status, reply.json()), (404, json!({"detail": "Not found."})));
        let reply = site.api.call("DELETE", "core/users/me/", None).await;
        assert_eq!((reply.status, reply.json()), (405, json!({"detail": "Method \"DELETE\" not allowed."})));
        assert_eq!(reply.header("x-authentik-id").map(|id| id.len()), Some(32));
        assert_eq!(reply.header("cache-control").as_deref(), Some("no-store"));
        assert!(reply.header("content-type").unwrap().starts_with("application/json"));
    });
}
