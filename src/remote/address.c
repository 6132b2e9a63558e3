/* address.c - which addresses an endpoint may have. */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "remote/http.h"

static bool private_ipv4(uint32_t a)
{
    return a >> 24 == 127 || a >> 24 == 10 || a >> 20 == (172 << 4 | 1) ||
           a >> 16 == (192 << 8 | 168) || a >> 16 == (169 << 8 | 254);
}

bool um_http_is_loopback(const char *host)
{
    struct in_addr v4;
    if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
        return true;
    return inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

/* Loopback, and the private and link-local ranges of RFC 1918, 3927, 4193 and 4291. */
static bool is_private(const char *host)
{
    char text[64];
    struct in_addr v4;
    struct in6_addr v6;
    size_t n = strlen(host);
    if (um_http_is_loopback(host))
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return private_ipv4(ntohl(v4.s_addr));
    if (n < 3 || n >= sizeof text || host[0] != '[')
        return false;
    memcpy(text, host + 1, n - 2);
    text[n - 2] = '\0';
    if (inet_pton(AF_INET6, text, &v6) != 1)
        return false;
    return (v6.s6_addr[0] & 0xfe) == 0xfc || (v6.s6_addr[0] == 0xfe && v6.s6_addr[1] >> 6 == 2);
}

static bool has_part(CURLU *u, CURLUPart part)
{
    char *text = NULL;
    bool has = curl_url_get(u, part, &text, 0) == CURLUE_OK && text[0] != '\0';
    curl_free(text);
    return has;
}

um_status um_http_check_url(const char *url, bool with_key, bool plain, um_error *err)
{
    um_status status = UM_OK;
    char *scheme = NULL, *host = NULL;
    CURLU *u = curl_url();
    if (u == NULL)
        return um_fail_memory(err, "an address");
    if (curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
        (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        status = um_fail(err, UM_ERR_INPUT,
                         "endpoint: not an http:// or https:// address; give one such as "
                         "http://127.0.0.1:8000/v1");
    else if (has_part(u, CURLUPART_USER) || has_part(u, CURLUPART_PASSWORD) ||
             has_part(u, CURLUPART_QUERY) || has_part(u, CURLUPART_FRAGMENT))
        status = um_fail(err, UM_ERR_INPUT,
                         "endpoint at %s: user names, '?' and '#' have no place in its address; "
                         "give the key by variable or file",
                         host);
    else if (with_key && !plain && strcmp(scheme, "http") == 0 && !is_private(host))
        status = um_fail(err, UM_ERR_INPUT,
                         "endpoint %s: the key would travel readable over http; use https, or "
                         "allow plain http by its option",
                         url);
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(u);
    return status;
}
