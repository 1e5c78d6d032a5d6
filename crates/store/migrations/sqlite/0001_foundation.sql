-- 0001_foundation.sql
-- The directory, credentials, applications, grants and sessions of the control plane.
--
-- Conventions, the same on both engines: instants are BIGINT microseconds since 1970 UTC; UUIDs are
-- lower-case hyphenated TEXT; JSON is TEXT; `sealed` columns are AEAD-encrypted for their own row and
-- column; `digest` columns are keyed HMAC-SHA-256. A copy of this database alone opens nothing.

CREATE TABLE instance (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    install_id  TEXT    NOT NULL,
    key_check   BLOB    NOT NULL, -- sealed constant: tells a wrong secret key before anything else fails
    settings    TEXT    NOT NULL, -- JSON object of the administrator's settings
    announced   BIGINT  NOT NULL DEFAULT 0, -- changes by commands beside the process that serves
    created     BIGINT  NOT NULL
);

-- A blueprint that is applied: of a file in the watched folder, or written here.
CREATE TABLE blueprint (
    pk                  TEXT    PRIMARY KEY,
    name                TEXT    NOT NULL UNIQUE,
    path                TEXT    NOT NULL, -- relative to the folder; empty when its text is here
    content_sealed      BLOB    NOT NULL, -- YAML; may hold passwords
    context_sealed      BLOB    NOT NULL, -- JSON object
    enabled             BOOLEAN NOT NULL,
    metadata            TEXT    NOT NULL, -- JSON object
    managed_models      TEXT    NOT NULL, -- JSON list of text
    status              TEXT    NOT NULL,
    last_applied        BIGINT  NOT NULL,
    last_applied_hash   TEXT    NOT NULL  -- hex SHA-512; empty before the first time
);
CREATE INDEX blueprint_path ON blueprint (path);

CREATE TABLE account (
    pk                  INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid                TEXT    NOT NULL UNIQUE,
    username            TEXT    NOT NULL,
    username_folded     TEXT    NOT NULL UNIQUE, -- NFKC and case folding
    name                TEXT    NOT NULL,
    email               TEXT    NOT NULL,
    email_folded        TEXT    NOT NULL,
    is_active           BOOLEAN NOT NULL,
    type                TEXT    NOT NULL,
    path                TEXT    NOT NULL,
    attributes_sealed   BLOB    NOT NULL, -- JSON object
    password_hash       TEXT,             -- Argon2id in PHC form; NULL matches no input
    password_changed    BIGINT  NOT NULL,
    date_joined         BIGINT  NOT NULL,
    last_updated        BIGINT  NOT NULL,
    last_login          BIGINT,
    generated_for       INTEGER           -- provider whose client secret this account stands for
);
-- The order of lists; and all that a search looks at, which it reads here instead of whole rows.
CREATE INDEX account_username ON account (username, name, email, uuid);
CREATE INDEX account_email ON account (email_folded);
CREATE INDEX account_address ON account (email);
CREATE INDEX account_name ON account (name);
CREATE INDEX account_path ON account (path, username);
CREATE INDEX account_joined ON account (date_joined);
CREATE INDEX account_login ON account (last_login);
CREATE UNIQUE INDEX account_generated ON account (generated_for) WHERE generated_for IS NOT NULL;

-- What users are found by whose attributes are sealed: a digest for each path and the value that it leads to.
CREATE TABLE account_attribute (
    digest  BLOB    NOT NULL,
    account INTEGER NOT NULL REFERENCES account (pk) ON DELETE CASCADE,
    PRIMARY KEY (digest, account)
);
CREATE INDEX account_attribute_account ON account_attribute (account);

CREATE TABLE team ( -- a group; the word itself is reserved in SQL
    pk                  TEXT    PRIMARY KEY,
    name                TEXT    NOT NULL UNIQUE,
    is_superuser        BOOLEAN NOT NULL,
    attributes_sealed   BLOB    NOT NULL
);

CREATE INDEX team_superuser ON team (pk) WHERE is_superuser; -- whether somebody administers is asked at every change

CREATE TABLE team_parent (
    child   TEXT NOT NULL REFERENCES team (pk) ON DELETE CASCADE,
    parent  TEXT NOT NULL REFERENCES team (pk) ON DELETE CASCADE,
    PRIMARY KEY (child, parent)
);
CREATE INDEX team_parent_parent ON team_parent (parent);

CREATE TABLE membership (
    account INTEGER NOT NULL REFERENCES account (pk) ON DELETE CASCADE,
    team    TEXT    NOT NULL REFERENCES team (pk) ON DELETE CASCADE,
    PRIMARY KEY (account, team)
);
CREATE INDEX membership_team ON membership (team);

CREATE TABLE role (
    pk      TEXT PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    managed TEXT UNIQUE
);

-- What a role grants: on one object, or on everything of its kind when `object` is empty.
CREATE TABLE role_permission (
    role        TEXT NOT NULL REFERENCES role (pk) ON DELETE CASCADE,
    permission  TEXT NOT NULL,
    object      TEXT NOT NULL,
    PRIMARY KEY (role, permission, object)
);

CREATE TABLE account_role (
    account INTEGER NOT NULL REFERENCES account (pk) ON DELETE CASCADE,
    role    TEXT    NOT NULL REFERENCES role (pk) ON DELETE CASCADE,
    PRIMARY KEY (account, role)
);
CREATE INDEX account_role_role ON account_role (role);

CREATE TABLE team_role (
    team    TEXT NOT NULL REFERENCES team (pk) ON DELETE CASCADE,
    role    TEXT NOT NULL REFERENCES role (pk) ON DELETE CASCADE,
    PRIMARY KEY (team, role)
);
CREATE INDEX team_role_role ON team_role (role);

CREATE TABLE token (
    uuid            TEXT    PRIMARY KEY,
    identifier      TEXT    NOT NULL UNIQUE,
    intent          TEXT    NOT NULL,
    account         INTEGER NOT NULL REFERENCES account (pk) ON DELETE CASCADE,
    description     TEXT    NOT NULL,
    key_digest      BLOB    NOT NULL,
    key_sealed      BLOB    NOT NULL,
    expiring        BOOLEAN NOT NULL,
    expires         BIGINT,
    managed         TEXT,
    allowed_applications TEXT NOT NULL, -- JSON list of UUID; empty: every application
    allowed_networks TEXT   NOT NULL, -- JSON list of text; empty: every network
    allowed_scopes  TEXT   NOT NULL, -- JSON list of text; empty: every scope
    created         BIGINT  NOT NULL,
    last_used       BIGINT,
    last_used_from  TEXT,
    old_key_digest  BLOB,   -- the key before, while it holds as well
    old_key_ends    BIGINT,
    old_key_used    BIGINT,
    reminded        INTEGER NOT NULL, -- days before its end at which its owner was last reminded; 0: not yet
    needs_rotation  BOOLEAN NOT NULL, -- nobody knows its key: it was drawn when the one before had ended
    CHECK (NOT expiring OR expires IS NOT NULL),
    CHECK ((old_key_digest IS NULL) = (old_key_ends IS NULL))
);
CREATE INDEX token_key ON token (key_digest, account);
CREATE INDEX token_old_key ON token (old_key_digest) WHERE old_key_digest IS NOT NULL;
CREATE INDEX token_account ON token (account);
CREATE INDEX token_expires ON token (expires) WHERE expiring;

CREATE TABLE scope_mapping (
    pk          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    scope_name  TEXT NOT NULL,
    description TEXT NOT NULL,
    expression  TEXT NOT NULL,
    managed     TEXT UNIQUE
);

CREATE TABLE flow (
    pk              TEXT PRIMARY KEY,
    slug            TEXT NOT NULL UNIQUE,
    name            TEXT NOT NULL,
    title           TEXT NOT NULL,
    designation     TEXT NOT NULL,
    authentication  TEXT NOT NULL,
    background      TEXT NOT NULL DEFAULT '',
    layout          TEXT NOT NULL DEFAULT 'stacked',
    denied_action   TEXT NOT NULL DEFAULT 'message_continue', -- for whom policies do not admit
    policy_engine_mode TEXT NOT NULL DEFAULT 'any'
);

-- What can be set about the steps of the flows, by the name of the step (CO-306).
CREATE TABLE stage (
    pk          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    model       TEXT NOT NULL,
    tunables    TEXT NOT NULL -- JSON object; what is absent has its default
);

-- A browser on its way through a flow (CO-304): one at a time, known by the digest of its cookie.
CREATE TABLE flow_run (
    digest          BLOB    PRIMARY KEY,
    state_sealed    BLOB    NOT NULL, -- versioned JSON
    revision        INTEGER NOT NULL,
    expires         BIGINT  NOT NULL
);
CREATE INDEX flow_run_expires ON flow_run (expires);

-- What proves who somebody is besides the password (CO-314, CO-315).
CREATE TABLE authenticator (
    pk              INTEGER PRIMARY KEY AUTOINCREMENT,
    account         INTEGER NOT NULL REFERENCES account (pk) ON DELETE CASCADE,
    class           TEXT    NOT NULL, -- 'totp', 'static' or 'webauthn'
    name            TEXT    NOT NULL,
    seed_sealed     BLOB    NOT NULL, -- TOTP: the seed; else empty
    digits          INTEGER NOT NULL, -- of a TOTP code
    drift           INTEGER NOT NULL, -- steps by which the device's clock was ahead last time
    last_step       BIGINT  NOT NULL, -- TOTP: the newest time step that was accepted; none before or at it is again
    created         BIGINT  NOT NULL,
    last_used       BIGINT
);
CREATE INDEX authenticator_account ON authenticator (account);

-- What is known of a security key or passkey besides (CO-315, CO-465). Nothing of it is secret.
CREATE TABLE webauthn_credential (
    authenticator   INTEGER PRIMARY KEY REFERENCES authenticator (pk) ON DELETE CASCADE,
    credential_id   TEXT    NOT NULL UNIQUE, -- base64url
    public_key      TEXT    NOT NULL, -- COSE key, base64url
    sign_count      BIGINT  NOT NULL, -- the highest that was seen; 0 when the authenticator does not count
    aaguid          TEXT    NOT NULL, -- model of the authenticator; zero when it does not say
    transports      TEXT    NOT NULL  -- JSON list: how browsers reach it
);

CREATE TABLE recovery_code (
    authenticator   INTEGER NOT NULL REFERENCES authenticator (pk) ON DELETE CASCADE,
    salt            BLOB    NOT NULL,
    digest          BLOB    NOT NULL,
    PRIMARY KEY (authenticator, digest)
);

-- Opens the recovery flow for one user, once (CO-324).
CREATE TABLE recovery_link (
    digest              BLOB    PRIMARY KEY,
    account             INTEGER NOT NULL REFERENCES account (pk) ON DELETE CASCADE,
    maker               INTEGER REFERENCES account (pk) ON DELETE CASCADE, -- who has the link in their hands besides the user
    password_changed    BIGINT  NOT NULL, -- as it was when the link was made: dies with the password
    expires             BIGINT  NOT NULL
);
CREATE INDEX recovery_link_expires ON recovery_link (expires);
CREATE INDEX recovery_link_account ON recovery_link (account);
CREATE INDEX recovery_link_maker ON recovery_link (maker);

-- A certificate, perhaps with its private key. What the certificate says is kept beside it, for lists.
CREATE TABLE certificate (
    pk                  TEXT    PRIMARY KEY,
    name                TEXT    NOT NULL UNIQUE,
    chain               TEXT    NOT NULL, -- PEM, leaf first
    private_key_sealed  BLOB,             -- PEM
    fingerprint_sha256  TEXT    NOT NULL,
    fingerprint_sha1    TEXT    NOT NULL,
    subject             TEXT    NOT NULL, -- RFC 4514
    expires             BIGINT  NOT NULL,
    key_type            TEXT,             -- of a kind that has a name
    managed             TEXT    UNIQUE,
    kid                 TEXT              -- published in the place of the thumbprint, where clients know that
);

CREATE TABLE provider (
    pk                          INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid                        TEXT    NOT NULL UNIQUE,
    kind                        TEXT    NOT NULL, -- 'proxy' or 'oauth2'
    name                        TEXT    NOT NULL UNIQUE,
    authentication_flow         TEXT    REFERENCES flow (pk) ON DELETE SET NULL,
    authorization_flow          TEXT    NOT NULL REFERENCES flow (pk),
    invalidation_flow           TEXT    NOT NULL REFERENCES flow (pk),
    client_id                   TEXT    NOT NULL UNIQUE,
    client_type                 TEXT    NOT NULL, -- 'confidential' or 'public'
    client_secret_sealed        BLOB    NOT NULL,
    client_secret_expires       BIGINT,           -- none: never
    client_secret_used          BIGINT,
    second_secret_sealed        BLOB    NOT NULL, -- empty: there is no second one
    second_secret_expires       BIGINT,
    second_secret_used          BIGINT,
    client_jwks                 TEXT    NOT NULL, -- JSON: public keys that the client proves itself with, or {}
    grant_types                 TEXT    NOT NULL, -- JSON list of text
    redirect_uris               TEXT    NOT NULL, -- JSON list of {matching_mode, url, redirect_uri_type}
    access_code_validity        TEXT    NOT NULL, -- durations are kept as typed (CO-022)
    access_token_validity       TEXT    NOT NULL,
    refresh_token_validity      TEXT    NOT NULL,
    refresh_token_threshold     TEXT    NOT NULL,
    refresh_family_max_age      TEXT    NOT NULL, -- empty: no end
    include_claims_in_id_token  BOOLEAN NOT NULL,
    signing_key                 TEXT    REFERENCES certificate (pk) ON DELETE SET NULL, -- none: see `kind`
    encryption_key              TEXT    REFERENCES certificate (pk), -- not to be deleted: tokens would be readable
    sub_mode                    TEXT    NOT NULL,
    issuer_mode                 TEXT    NOT NULL,
    logout_uri                  TEXT    NOT NULL,
    logout_method               TEXT    NOT NULL,
    jwt_federation_sources      TEXT    NOT NULL, -- JSON list of UUID
    jwt_federation_providers    TEXT    NOT NULL, -- JSON list of integer
    federation_audiences        TEXT    NOT NULL, -- JSON list of text
    cap_to_assertion_exp        BOOLEAN NOT NULL,
    exchange_without_actor      BOOLEAN NOT NULL,
    require_pkce                BOOLEAN NOT NULL,
    m2m_require_client_auth     BOOLEAN NOT NULL,
    allow_pkce_plain            BOOLEAN NOT NULL,
    device_code_validity        TEXT    NOT NULL,
    device_require_client_auth  BOOLEAN NOT NULL,
    allowed_origins             TEXT    NOT NULL, -- JSON list of text
    allow_query_token           BOOLEAN NOT NULL,
    allow_broad_redirect_uris   BOOLEAN NOT NULL,
    mode                        TEXT    NOT NULL,
    external_host               TEXT    NOT NULL,
    internal_host               TEXT    NOT NULL,
    internal_host_ssl_validation BOOLEAN NOT NULL,
    certificate                 TEXT    REFERENCES certificate (pk) ON DELETE SET NULL,
    skip_path_regex             TEXT    NOT NULL,
    intercept_header_auth       BOOLEAN NOT NULL,
    basic_auth_enabled          BOOLEAN NOT NULL,
    basic_auth_user_attribute   TEXT    NOT NULL,
    basic_auth_password_attribute TEXT  NOT NULL,
    cookie_domain               TEXT    NOT NULL,
    cookie_secret_sealed        BLOB    NOT NULL
);
-- Which attributes are secret is asked by whoever shows or changes some.
CREATE INDEX provider_upstream_password ON provider (basic_auth_password_attribute)
    WHERE basic_auth_password_attribute <> '';

-- Before a request of a page elsewhere its client is not known: any client's origin will do.
CREATE TABLE provider_origin (
    origin      TEXT    NOT NULL,
    provider    INTEGER NOT NULL REFERENCES provider (pk) ON DELETE CASCADE,
    PRIMARY KEY (origin, provider)
);
CREATE INDEX provider_origin_provider ON provider_origin (provider);

CREATE TABLE provider_mapping (
    provider    INTEGER NOT NULL REFERENCES provider (pk) ON DELETE CASCADE,
    mapping     TEXT    NOT NULL REFERENCES scope_mapping (pk) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    PRIMARY KEY (provider, mapping)
);

CREATE TABLE application (
    uuid                TEXT    PRIMARY KEY,
    name                TEXT    NOT NULL,
    slug                TEXT    NOT NULL UNIQUE,
    provider            INTEGER UNIQUE REFERENCES provider (pk) ON DELETE SET NULL,
    portal_group        TEXT    NOT NULL,
    policy_engine_mode  TEXT    NOT NULL,
    meta_launch_url     TEXT    NOT NULL,
    meta_icon           TEXT    NOT NULL,
    meta_description    TEXT    NOT NULL,
    meta_publisher      TEXT    NOT NULL,
    meta_hide           BOOLEAN NOT NULL,
    open_in_new_tab     BOOLEAN NOT NULL
);

-- What a user may do inside an application; who holds it is said by bindings whose target it is.
CREATE TABLE entitlement (
    uuid                TEXT    PRIMARY KEY,
    application         TEXT    NOT NULL REFERENCES application (uuid) ON DELETE CASCADE,
    name                TEXT    NOT NULL,
    attributes_sealed   BLOB    NOT NULL, -- JSON object
    UNIQUE (application, name)
);

CREATE TABLE policy (
    pk                  TEXT    PRIMARY KEY,
    name                TEXT    NOT NULL UNIQUE,
    kind                TEXT    NOT NULL,
    execution_logging   BOOLEAN NOT NULL,
    settings            TEXT    NOT NULL -- JSON object of the kind's own fields
);

-- How the instance presents itself under a host name and those below it (CO-502).
CREATE TABLE brand (
    pk                  TEXT    PRIMARY KEY,
    domain              TEXT    NOT NULL UNIQUE,
    is_default          BOOLEAN NOT NULL,
    title               TEXT    NOT NULL,
    logo                TEXT    NOT NULL, -- empty: ours
    favicon             TEXT    NOT NULL, -- empty: ours
    custom_css          TEXT    NOT NULL,
    flow_background     TEXT    NOT NULL,
    flow_authentication TEXT    REFERENCES flow (pk) ON DELETE SET NULL,
    flow_invalidation   TEXT    REFERENCES flow (pk) ON DELETE SET NULL,
    flow_recovery       TEXT    REFERENCES flow (pk) ON DELETE SET NULL,
    flow_unenrollment   TEXT    REFERENCES flow (pk) ON DELETE SET NULL,
    flow_user_settings  TEXT    REFERENCES flow (pk) ON DELETE SET NULL,
    flow_device_code    TEXT    REFERENCES flow (pk) ON DELETE SET NULL,
    default_application TEXT    REFERENCES application (uuid) ON DELETE SET NULL,
    web_certificate     TEXT    REFERENCES certificate (pk) ON DELETE SET NULL,
    attributes_sealed   BLOB    NOT NULL  -- JSON object
);
CREATE UNIQUE INDEX brand_default ON brand (is_default) WHERE is_default;

CREATE TABLE brand_client_certificate (
    brand       TEXT    NOT NULL REFERENCES brand (pk) ON DELETE CASCADE,
    certificate TEXT    NOT NULL REFERENCES certificate (pk) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    PRIMARY KEY (brand, certificate)
);

-- A binding outlives what it names: an orphan denies (CO-180). So no member carries a foreign key with a
-- cascade; each is set to NULL when the policy, group or user goes.
CREATE TABLE binding (
    pk              TEXT    PRIMARY KEY,
    target          TEXT    NOT NULL,
    policy          TEXT    REFERENCES policy (pk) ON DELETE SET NULL,
    team            TEXT    REFERENCES team (pk) ON DELETE SET NULL,
    account         INTEGER REFERENCES account (pk) ON DELETE SET NULL,
    position        INTEGER NOT NULL,
    negate          BOOLEAN NOT NULL,
    enabled         BOOLEAN NOT NULL,
    failure_result  BOOLEAN NOT NULL,
    timeout         INTEGER NOT NULL
);
CREATE INDEX binding_target ON binding (target, position, pk);
CREATE INDEX binding_policy ON binding (policy);
CREATE INDEX binding_team ON binding (team) WHERE team IS NOT NULL;
CREATE INDEX binding_account ON binding (account) WHERE account IS NOT NULL;

CREATE TABLE outpost (
    pk          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    type        TEXT NOT NULL,
    config      TEXT NOT NULL, -- JSON object, kept as given
    managed     TEXT UNIQUE
);

CREATE TABLE outpost_provider (
    outpost     TEXT    NOT NULL REFERENCES outpost (pk) ON DELETE CASCADE,
    provider    INTEGER NOT NULL REFERENCES provider (pk) ON DELETE CASCADE,
    PRIMARY KEY (outpost, provider)
);
CREATE INDEX outpost_provider_provider ON outpost_provider (provider);

CREATE TABLE signing_key (
    kid                 TEXT    PRIMARY KEY, -- RFC 7638 thumbprint
    private_key_sealed  BLOB    NOT NULL,    -- PKCS#8 DER
    certificate         BLOB    NOT NULL,    -- DER
    active              BOOLEAN NOT NULL,    -- retired keys stay published (OA-124)
    created             BIGINT  NOT NULL
);

-- Key pairs that signed for a provider before; what they signed is believed until then (OA-124).
CREATE TABLE retired_key (
    provider    INTEGER NOT NULL REFERENCES provider (pk) ON DELETE CASCADE,
    certificate TEXT    NOT NULL REFERENCES certificate (pk) ON DELETE CASCADE,
    until       BIGINT  NOT NULL,
    PRIMARY KEY (provider, certificate)
);
CREATE INDEX retired_key_certificate ON retired_key (certificate);

-- Keys that signed for a provider until their certificate was given another one: public parts, believed until then (OA-124).
CREATE TABLE replaced_key (
    provider    INTEGER NOT NULL REFERENCES provider (pk) ON DELETE CASCADE,
    certificate TEXT    NOT NULL REFERENCES certificate (pk) ON DELETE CASCADE,
    kid         TEXT    NOT NULL,
    jwk         TEXT    NOT NULL,
    replaced    BIGINT  NOT NULL,
    until       BIGINT  NOT NULL,
    PRIMARY KEY (provider, kid)
);
CREATE INDEX replaced_key_certificate ON replaced_key (certificate);

-- A signed-in browser at the identity provider. `sid` is what tokens and outposts know it by.
CREATE TABLE login_session (
    digest          BLOB    PRIMARY KEY,
    uuid            TEXT    NOT NULL UNIQUE,
    sid             TEXT    NOT NULL UNIQUE,
    account         INTEGER NOT NULL REFERENCES account (pk) ON DELETE CASCADE,
    auth_time       BIGINT  NOT NULL,
    auth_method     TEXT    NOT NULL,
    second_factor   BIGINT,           -- when a second factor was shown
    created         BIGINT  NOT NULL,
    expires         BIGINT  NOT NULL, -- absolute end
    idle_seconds    BIGINT  NOT NULL, -- ends when it is not used for so long
    idle_expires    BIGINT  NOT NULL,
    last_used       BIGINT  NOT NULL,
    last_ip         TEXT    NOT NULL,
    user_agent      TEXT    NOT NULL,
    application     TEXT,             -- that the browser was on its way to; it may be gone
    network_binding TEXT    NOT NULL, -- the browser's network may change so far (CO-386)
    geoip_binding   TEXT    NOT NULL, -- and its place
    impersonator    INTEGER,          -- of a session in which somebody else acts as the account: who that is
    impersonator_sid TEXT,            -- and the session that they come from, which rests meanwhile
    acting_as       INTEGER           -- of a session that rests: whom its user acts as in the other one
);
CREATE INDEX login_session_impersonated ON login_session (sid) WHERE impersonator_sid IS NOT NULL OR acting_as IS NOT NULL;
CREATE INDEX login_session_account ON login_session (account);
CREATE INDEX login_session_expires ON login_session (expires);

CREATE TABLE authorization_code (
    pk              INTEGER PRIMARY KEY AUTOINCREMENT, -- 64 bits: many are issued
    digest          BLOB    NOT NULL UNIQUE,
    grant_id        TEXT    NOT NULL,
    provider        INTEGER NOT NULL REFERENCES provider (pk) ON DELETE CASCADE,
    account         INTEGER NOT NULL REFERENCES account (pk) ON DELETE CASCADE,
    sid             TEXT    NOT NULL,
    redirect_uri    TEXT    NOT NULL,
    scope           TEXT    NOT NULL,
    nonce           TEXT,
    challenge       TEXT,
    challenge_method TEXT,
    auth_time       BIGINT  NOT NULL,
    expires         BIGINT  NOT NULL,
    consumed        BIGINT            -- kept after use, so that a second use is noticed (OA-245)
);
CREATE INDEX authorization_code_account ON authorization_code (account);
CREATE INDEX authorization_code_provider ON authorization_code (provider);
CREATE INDEX authorization_code_expires ON authorization_code (expires);

-- What users agreed that an application may know of them (OA-167). The client and the application are both part
-- of what they saw: another one at the same place asks again.
CREATE TABLE consent (
    pk              INTEGER PRIMARY KEY AUTOINCREMENT,
    account         INTEGER NOT NULL REFERENCES account (pk) ON DELETE CASCADE,
    provider        INTEGER NOT NULL REFERENCES provider (pk) ON DELETE CASCADE,
    application     TEXT    NOT NULL REFERENCES application (uuid) ON DELETE CASCADE,
    scope           TEXT    NOT NULL,
    created         BIGINT  NOT NULL,
    expires         BIGINT  NOT NULL,
    UNIQUE (account, provider)
);
CREATE INDEX consent_provider ON consent (provider);
CREATE INDEX consent_application ON consent (application);
CREATE INDEX consent_expires ON consent (expires);

-- The authority of an access token is this row, not its signature (OA-462).
CREATE TABLE access_token (
    pk              INTEGER PRIMARY KEY AUTOINCREMENT, -- 64 bits: many are issued
    digest          BLOB    NOT NULL UNIQUE,
    jti             TEXT    NOT NULL UNIQUE,
    grant_id        TEXT    NOT NULL,
    provider        INTEGER NOT NULL REFERENCES provider (pk) ON DELETE CASCADE,
    account         INTEGER NOT NULL REFERENCES account (pk) ON DELETE CASCADE,
    sid             TEXT,
    app_password    TEXT,              -- token.uuid it was obtained with, and dies with
    app_password_key TEXT,             -- which key that token had then
    traded_sid      TEXT,              -- session of the token it was traded for; ends with it
    traded_jti      TEXT,              -- token it was traded for; ends with it
    actor_jti       TEXT,              -- token of who acts for its user; ends with it, too
    source          TEXT,              -- oauth_source.pk that vouched for its user
    source_at       INTEGER,           -- at this provider
    actor           INTEGER REFERENCES account (pk) ON DELETE CASCADE, -- who acts for its user, if they have an account
    scope           TEXT    NOT NULL,
    claims_sealed   BLOB    NOT NULL,  -- JSON: the complete claims, upstream credentials included
    assertion_sealed BLOB,             -- JSON: claims of the assertion it was issued for, which policies ask about
    group_names     TEXT    NOT NULL DEFAULT '[]', -- JSON list: where its user belonged when it was issued
    issued          BIGINT  NOT NULL,
    expires         BIGINT  NOT NULL,
    revoked         BIGINT
);
CREATE INDEX access_token_grant ON access_token (grant_id);
CREATE INDEX access_token_sid ON access_token (sid);
CREATE INDEX access_token_account ON access_token (account, provider);
CREATE INDEX access_token_provider ON access_token (provider);
CREATE INDEX access_token_expires ON access_token (expires);
CREATE INDEX access_token_actor ON access_token (actor);
CREATE INDEX access_token_traded ON access_token (traded_jti) WHERE traded_jti IS NOT NULL;
CREATE INDEX access_token_acted ON access_token (actor_jti) WHERE actor_jti IS NOT NULL;
CREATE INDEX access_token_sessionless ON access_token (account, provider, issued DESC, jti)
    WHERE sid IS NULL AND revoked IS NULL;
CREATE INDEX access_token_app_password ON access_token (app_password) WHERE app_password IS NOT NULL;
CREATE INDEX access_token_source ON access_token (source) WHERE source IS NOT NULL;

-- All of one grant are a family. What was rotated stays until it would have ended, so that a second use is noticed
-- (OA-265, OA-644).
CREATE TABLE refresh_token (
    pk              INTEGER PRIMARY KEY AUTOINCREMENT,
    digest          BLOB    NOT NULL UNIQUE,
    grant_id        TEXT    NOT NULL,
    provider        INTEGER NOT NULL REFERENCES provider (pk) ON DELETE CASCADE,
    account         INTEGER NOT NULL REFERENCES account (pk) ON DELETE CASCADE,
    sid             TEXT    NOT NULL, -- of the session that approved the grant, which it outlives; empty for a device
    auth_method     TEXT    NOT NULL,
    second_factor   BOOLEAN NOT NULL, -- whether one was shown in it
    auth_time       BIGINT  NOT NULL,
    scope           TEXT    NOT NULL,
    subject         TEXT    NOT NULL, -- that of a mapping; empty: as the client has it
    began           BIGINT  NOT NULL, -- when the first one of its family was issued
    issued          BIGINT  NOT NULL,
    expires         BIGINT  NOT NULL,
    rotated         BIGINT,
    revoked         BIGINT
);
CREATE INDEX refresh_token_grant ON refresh_token (grant_id);
CREATE INDEX refresh_token_sid ON refresh_token (sid);
CREATE INDEX refresh_token_account ON refresh_token (account);
CREATE INDEX refresh_token_provider ON refresh_token (provider);
CREATE INDEX refresh_token_expires ON refresh_token (expires);

-- Which clients were told of a session: they are told of its end, too (OA-556). A notice outlives session and user.
CREATE TABLE rp_session (
    sid             TEXT    NOT NULL,
    provider        INTEGER NOT NULL REFERENCES provider (pk) ON DELETE CASCADE,
    account         INTEGER NOT NULL REFERENCES account (pk) ON DELETE CASCADE,
    iss             TEXT    NOT NULL,
    sub             TEXT    NOT NULL,
    PRIMARY KEY (sid, provider)
);
CREATE INDEX rp_session_account ON rp_session (account);
CREATE INDEX rp_session_provider ON rp_session (provider);

CREATE TABLE logout_notice (
    pk              INTEGER PRIMARY KEY AUTOINCREMENT,
    provider        INTEGER NOT NULL REFERENCES provider (pk) ON DELETE CASCADE,
    sid             TEXT    NOT NULL,
    iss             TEXT    NOT NULL,
    sub             TEXT    NOT NULL,
    attempts        INTEGER NOT NULL,
    due             BIGINT  NOT NULL  -- when it is tried next
);
CREATE INDEX logout_notice_due ON logout_notice (due);
CREATE INDEX logout_notice_provider ON logout_notice (provider);

-- A device that waits for somebody to let it in (OA section 12).
CREATE TABLE device_code (
    digest          BLOB    PRIMARY KEY,
    user_code       BLOB    NOT NULL UNIQUE, -- keyed digest, too
    provider        INTEGER NOT NULL REFERENCES provider (pk) ON DELETE CASCADE,
    scope           TEXT    NOT NULL,
    expires         BIGINT  NOT NULL,
    pause_seconds   BIGINT  NOT NULL, -- between two questions of the device
    asked           BIGINT,           -- when it asked last
    account         INTEGER REFERENCES account (pk) ON DELETE CASCADE, -- who answered
    denied          BOOLEAN NOT NULL,
    auth_method     TEXT,             -- how they had proved who they are
    second_factor   BOOLEAN NOT NULL, -- whether they had shown one
    auth_time       BIGINT
);
CREATE INDEX device_code_provider ON device_code (provider);
CREATE INDEX device_code_account ON device_code (account);
CREATE INDEX device_code_expires ON device_code (expires);

-- Another identity provider, whose assertions machines can bring (OA section 11.5).
CREATE TABLE oauth_source (
    pk                      TEXT    PRIMARY KEY,
    name                    TEXT    NOT NULL UNIQUE,
    slug                    TEXT    NOT NULL UNIQUE,
    enabled                 BOOLEAN NOT NULL,
    promoted                BOOLEAN NOT NULL,
    authentication_flow     TEXT    REFERENCES flow (pk) ON DELETE SET NULL,
    enrollment_flow         TEXT    REFERENCES flow (pk) ON DELETE SET NULL,
    user_property_mappings  TEXT    NOT NULL, -- JSON list of UUID
    group_property_mappings TEXT    NOT NULL, -- JSON list of UUID
    policy_engine_mode      TEXT    NOT NULL,
    user_matching_mode      TEXT    NOT NULL,
    group_matching_mode     TEXT    NOT NULL,
    user_path_template      TEXT    NOT NULL,
    icon                    TEXT    NOT NULL,
    provider_type           TEXT    NOT NULL,
    request_token_url       TEXT,
    authorization_url       TEXT,
    access_token_url        TEXT,
    profile_url             TEXT,
    pkce                    TEXT    NOT NULL,
    consumer_key            TEXT    NOT NULL,
    consumer_secret_sealed  BLOB    NOT NULL,
    additional_scopes       TEXT    NOT NULL,
    oidc_well_known_url     TEXT    NOT NULL,
    oidc_jwks_url           TEXT    NOT NULL,
    oidc_jwks               TEXT    NOT NULL, -- JSON object, as pasted
    authorization_code_auth_method TEXT NOT NULL,
    expected_issuers        TEXT    NOT NULL, -- JSON list of text; empty: the discovered one
    expected_audiences      TEXT    NOT NULL, -- JSON list of text, besides the defaults
    allowed_algorithms      TEXT    NOT NULL, -- JSON list of text; empty: the defaults
    max_assertion_lifetime  TEXT    NOT NULL, -- a duration, as typed
    assertion_leeway            TEXT NOT NULL, -- duration as typed
    audience_check              BOOLEAN NOT NULL,
    require_exp                 BOOLEAN NOT NULL,
    single_use              BOOLEAN NOT NULL,
    discovered_issuer       TEXT    NOT NULL, -- empty: unknown
    fetched_jwks            TEXT    NOT NULL, -- JSON object: the last good one
    fetched_at              BIGINT,           -- when that was
    fresh_until             BIGINT
);

-- Whose account a subject of a source has at a provider (OA-331): found by this, never by name.
CREATE TABLE federated_account (
    account     INTEGER PRIMARY KEY REFERENCES account (pk) ON DELETE CASCADE,
    provider    INTEGER REFERENCES provider (pk) ON DELETE SET NULL, -- the account still ends at its time
    source      TEXT    REFERENCES oauth_source (pk) ON DELETE SET NULL,
    issuer      TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    expires     BIGINT  NOT NULL, -- the latest assertion's end
    UNIQUE (provider, source, issuer, subject)
);
CREATE INDEX federated_account_expires ON federated_account (expires);

-- A session of the embedded outpost: one application, one browser or one credential.
CREATE TABLE proxy_session (
    provider        INTEGER NOT NULL REFERENCES provider (pk) ON DELETE CASCADE,
    digest          BLOB    NOT NULL,
    salt            BLOB    NOT NULL,
    source          TEXT    NOT NULL,
    fingerprint     BLOB,
    user_uuid       TEXT    NOT NULL,
    sid             TEXT    NOT NULL,
    grant_sealed    BLOB    NOT NULL, -- JSON: claims and tokens
    created         BIGINT  NOT NULL,
    expires         BIGINT  NOT NULL,
    PRIMARY KEY (provider, digest)
);
CREATE UNIQUE INDEX proxy_session_fingerprint ON proxy_session (provider, fingerprint) WHERE fingerprint IS NOT NULL;
CREATE INDEX proxy_session_user ON proxy_session (user_uuid);
CREATE INDEX proxy_session_sid ON proxy_session (sid) WHERE sid <> '';
CREATE INDEX proxy_session_expires ON proxy_session (expires);
CREATE INDEX proxy_session_digest ON proxy_session (digest);

-- Names of additional headers that claims have held: clients of the provider may not send them (PX-221).
CREATE TABLE provider_header (
    provider        INTEGER NOT NULL REFERENCES provider (pk) ON DELETE CASCADE,
    name            TEXT    NOT NULL,
    PRIMARY KEY (provider, name)
);

-- What identities rested on and was changed or ended lately: for outposts elsewhere and other processes (PX-409).
CREATE TABLE revocation (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order of commits
    created         BIGINT  NOT NULL,
    kind            TEXT    NOT NULL,
    value           TEXT    NOT NULL, -- an id, or empty
    provider        INTEGER           -- the only one that it concerns; it may be gone
);

-- Failed attempts, counted in windows (OA-680). `bucket` is a keyed digest: no address, no user name.
CREATE TABLE failure (
    bucket          BLOB    PRIMARY KEY,
    subject         BLOB,             -- keyed digest of a user name: whose counters an administrator clears (CO-445)
    failures        INTEGER NOT NULL,
    last            BIGINT  NOT NULL, -- the latest one
    window_ends     BIGINT  NOT NULL
);
CREATE INDEX failure_subject ON failure (subject) WHERE subject IS NOT NULL;

-- How those who tried to sign in under a name from an address have done lately (CO-440).
CREATE TABLE reputation (
    pk              TEXT    PRIMARY KEY,
    identifier      TEXT    NOT NULL,
    ip              TEXT    NOT NULL,
    score           INTEGER NOT NULL,
    ip_geo_data     TEXT    NOT NULL, -- JSON object, empty when nothing is known
    ip_asn_data     TEXT    NOT NULL, -- JSON object, empty when nothing is known
    updated         BIGINT  NOT NULL,
    expires         BIGINT  NOT NULL,
    UNIQUE (identifier, ip)
);
CREATE INDEX reputation_ip ON reputation (ip);
CREATE INDEX reputation_expires ON reputation (expires);

CREATE TABLE event (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of what happened at the same instant
    pk          TEXT    NOT NULL UNIQUE,
    action      TEXT    NOT NULL,
    app         TEXT    NOT NULL,
    account     TEXT    NOT NULL, -- JSON object: who did it
    context     TEXT    NOT NULL, -- JSON object, cleansed (CO-414)
    brand       TEXT    NOT NULL, -- JSON object: under which brand it was asked for
    client_ip   TEXT,
    created     BIGINT  NOT NULL,
    expires     BIGINT  NOT NULL,
    -- What lists are limited by, taken out of the JSON.
    username        TEXT NOT NULL,
    brand_name      TEXT NOT NULL,
    model_app       TEXT,
    model_name      TEXT,
    model_pk        TEXT,
    authorized_app  TEXT,
    searched        TEXT NOT NULL, -- what a search looks at, in lower case
    -- Whom it says something of, for when they are deleted (CO-818).
    actor           INTEGER,       -- who did it
    mentions        TEXT,          -- others: ',7,42,'
    tried           TEXT           -- the name that somebody failed to sign in under, folded
);
CREATE INDEX event_created ON event (created, seq, searched); -- a search reads nothing else
CREATE INDEX event_expires ON event (expires);
CREATE INDEX event_model ON event (model_pk);
CREATE INDEX event_listed ON event (username, action, app, client_ip); -- lists read here what they look at
CREATE INDEX event_actor ON event (actor) WHERE actor IS NOT NULL;
CREATE INDEX event_mentions ON event (mentions) WHERE mentions IS NOT NULL;
CREATE INDEX event_tried ON event (tried) WHERE tried IS NOT NULL;
