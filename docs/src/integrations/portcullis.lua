-- Asks Portcullis about a request: http-request lua.portcullis HOST:PORT
--
-- Whoever may pass goes on with the headers that Portcullis answers; everybody else gets its answer. When Portcullis does
-- not answer, nobody passes.

-- What of an answer concerns the application.
local function is_for_application(name)
    return name == "authorization" or name:sub(1, 12) == "x-authentik-"
end

-- The client's headers, without what belongs to its body and its connection.
local function question(txn)
    local headers = txn.http:req_get_headers()
    local asked = {}
    for name, values in pairs(headers) do
        asked[name] = {}
        for i = 0, #values do
            asked[name][#asked[name] + 1] = values[i]
        end
    end
    for _, name in ipairs({
        "content-length", "transfer-encoding", "connection", "upgrade", "expect", "te", "trailer", "keep-alive",
        "proxy-connection",
    }) do
        asked[name] = nil
    end
    asked["x-forwarded-uri"] = { txn.f:pathq() }
    asked["x-forwarded-method"] = { txn.f:method() }
    return asked
end

local function refuse(txn, status, headers, body)
    local reply = txn:reply({ status = status, body = body })
    for name, values in pairs(headers or {}) do
        if name ~= "content-length" and name ~= "connection" and name ~= "transfer-encoding" then
            for _, value in pairs(values) do
                reply:add_header(name, value)
            end
        end
    end
    txn:done(reply)
end

core.register_action("portcullis", { "http-req" }, function(txn, server)
    local answer = core.httpclient():get({
        url = "http://" .. server .. "/outpost.goauthentik.io/auth/traefik",
        headers = question(txn),
        timeout = 10000,
    })
    if not answer or not answer.status or answer.status == 0 then
        return refuse(txn, 503, nil, "The access to this application cannot be checked at the moment.\n")
    end
    if answer.status < 200 or answer.status > 299 then
        return refuse(txn, answer.status, answer.headers, answer.body)
    end
    txn.http:req_del_header("authorization")
    for name, values in pairs(answer.headers) do
        if is_for_application(name) then
            txn.http:req_del_header(name)
            for _, value in pairs(values) do
                txn.http:req_add_header(name, value)
            end
        elseif name == "set-cookie" then
            for _, value in pairs(values) do
                txn:set_var("txn.portcullis_cookie", value)
            end
        end
    end
end, 1)
