/* readers.h: the messages that are no plain text with placeholders: words in any order, members of JSON, KEY=VALUE. */
#ifndef READERS_H
#define READERS_H
#include "form.h"

/* The event of a value in a list of pairs: {"association", "joined", "sta_roam", "roamed", …, NULL}. */
static const char *type_of(edge_span value, const char *const *pairs) {
  for (; *pairs; pairs += 2) if (edge_is(value, *pairs)) return pairs[1];
  return NULL;
}

/* "<interface>: AP-STA-CONNECTED <mac> [name=value ...]": with auth_alg=ft it is a roam */
static bool read_hostapd(edge_span message, wifi_event *event) {
  form_match m = {0};
  if (!fits(span_of("{interface}: AP-STA-CONNECTED {mac}"), message, &m)) return false;
  *event = m.event;
  event->type = "joined";
  edge_span rest = edge_from(message, (size_t)(m.end - message.p));
  for (edge_span w = word(&rest); w.n; w = word(&rest))
    if (edge_starts(w, "auth_alg=") && w.n > 9 && w.n < 9 + 32) {
      event->auth = edge_from(w, 9);
      if (edge_is(event->auth, "ft")) event->type = "roamed";
      break;
    }
  return true;
}

/* "[STA-TRACKER].stahtd_dump_event(): {JSON}", perhaps with text after the closing brace */
static bool read_stahtd(edge_span s, wifi_event *event) {
  static const char *const types[] = {"association", "joined", "success", "joined", "sta_roam", "roamed", "deny", "rejected", "failure", "rejected", NULL};
  edge_span object, value;
  if (!s.n || (*s.p != '{' && *s.p != '[' && !edge_starts(s, "stahtd_dump_event"))) return false;
  const uint8_t *brace = memchr(s.p, '{', s.n);
  if (!brace) return false;
  s = edge_from(s, (size_t)(brace - s.p));
  if (!edge_json_value(&s, &object)) return false;
  if (!edge_json_member(object, "message_type", &value) || !edge_is(value, "\"STA_ASSOC_TRACKER\"")) return false;
  if (!edge_json_member(object, "mac", &value) || *value.p != '"' || !is_mac(edge_json_inner(value), event)) return false;
  if (!edge_json_member(object, "vap", &value) || *value.p != '"') return false;
  event->interface = edge_json_inner(value);
  if (!is_interface(event->interface) || !edge_json_member(object, "event_type", &value)) return false;
  value = edge_json_inner(value);
  event->type = type_of(value, types);
  if (event->type && !strcmp(event->type, "rejected")) event->reason = value;
  return event->type;
}

/* "[client:NAME:MAC] [(IP: …)] is connected to [ap:NAME:MAC] …": a guest may have put all of that into the name, so the last one counts */
static bool read_omada(edge_span s, wifi_event *event) {
  static const char *const tails[] = {
      "joined", "{is |}connected to [ap:{ap}:{skip}]{rest}",
      "left", "{is disconnected from|was disconnected from|disconnected from|went offline from|is offline from|left}{rest}[ap:{ap}:{skip}]{rest}",
      "roamed", "{is roaming|roamed|roams} from [ap:{rest}to [ap:{ap}:{skip}]{rest}",
      "rejected", "failed to {connect|connected} to [ap:{ap}:{skip}]{rest}", NULL};
  if (!edge_starts(s, "[client:")) return false;
  size_t least = s.n > FORM_REST ? s.n - FORM_REST : 8;
  for (size_t i = s.n; i-- > least + 18;) {
    uint8_t mac[17];
    edge_span rest = edge_from(s, i), ip = rest;
    if (s.p[i] != ']' || s.p[i - 18] != ':' || mac_length(edge_make(s.p + i - 17, 17), mac) != 17 || !take(&rest, "] ", 2)) continue;
    ip = rest;
    if (take(&ip, "(IP: ", 5) && word(&ip).n) rest = trimmed(ip);
    for (const char *const *tail = tails; *tail; tail += 2) {
      form_match m = {0};
      if (!fits(span_of(tail[1]), rest, &m)) continue;
      *event = m.event;
      event->type = *tail;
      if (!strcmp(*tail, "rejected")) event->reason = span_of("refused");
      memcpy(event->mac, mac, sizeof mac);
      return event->has_mac = true;
    }
  }
  return false;
}

/* "<501100> <2452> <NOTI> <wcp2 10.0.0.1>  Assoc success @ …", with "|AP loft@10.0.0.2 stm|" or "AP:loft <…>" before the text instead:
 * what is in brackets is skipped, and nothing else, since a probe request quotes the network that a device asks for */
static bool read_aruba(edge_span s, wifi_event *event) {
  static const char *const texts[] = {
      "roamed", "Reassoc success @ {skip} {mac}: AP {skip}-{skip}-{ap}", "roamed", "Reassoc success @ {skip} {mac}: AP",
      "joined", "Assoc success @ {skip} {mac}: AP {skip}-{skip}-{ap}", "joined", "Assoc success @ {skip} {mac}: AP",
      "left", "{Deauth|Disassoc} {from|to} sta: {mac}: {rest}AP {skip}-{skip}-{ap}", "left", "{Deauth|Disassoc} {from|to} sta: {mac}:",
      "joined", "recv_sta_online: receive station msg, mac-{mac} bssid-{skip}", "left", "recv_sta_offline: receive station msg, mac-{mac} bssid-{skip}", NULL};
  if (!s.n || *s.p != '<') return false;
  for (; s.n; s = trimmed(s)) {
    uint8_t close = *s.p == '<' ? '>' : *s.p == '|' ? '|' : 0;
    const uint8_t *end = close ? memchr(s.p + 1, close, s.n - 1) : NULL;
    if (end) s = edge_from(s, (size_t)(end - s.p) + 1);
    else if (edge_starts(s, "AP:")) word(&s);
    else break;
  }
  for (const char *const *text = texts; *text; text += 2) {
    form_match m = {0};
    if (!fits(span_of(text[1]), s, &m)) continue;
    *event = m.event;
    event->type = *text;
    return true;
  }
  return false;
}

/* "events type=association radio='1' … client_mac='06:…'" */
static bool read_meraki(edge_span s, wifi_event *event) {
  static const char *const types[] = {"association", "joined", "wpa_auth", "joined", "8021x_eap_success", "joined",
                                      "reassociation", "roamed", "roam", "roamed", "disassociation", "left",
                                      "wpa_deauth", "left", "8021x_deauth", "left", "8021x_eap_failure", "rejected", NULL};
  edge_span value;
  if (!take(&s, "events type=", 12)) return false;
  event->type = type_of(word(&s), types);
  if (event->type && !strcmp(event->type, "rejected")) event->reason = span_of("eap-failure");
  return event->type && (member(s, "client_mac", &value) || member(s, "mac", &value)) && is_mac(value, event);
}

/* FortiGate and FortiAP: date=… subtype="wireless" … action="client-authentication" … stamac="06:…" */
static bool read_fortinet(edge_span s, wifi_event *event) {
  static const char *const types[] = {"client-authentication", "joined", "client-association", "joined", "client-reassociation", "roamed",
                                      "client-roaming", "roamed", "client-roam", "roamed", "client-deauthentication", "left",
                                      "client-disassociation", "left", "client-leave-wtp", "left", "client-disconnected", "left",
                                      "client-idle", "left", "client-denial", "rejected", NULL};
  edge_span value;
  edge_span first = edge_make(s.p, s.n < 12 ? s.n : 12);
  const uint8_t *equals = memchr(first.p, '=', first.n);
  if (!equals || !is_one_of(edge_make(s.p, (size_t)(equals - s.p)), "date time devname devid logid type logver eventtime timestamp vd"))
    return false;
  if (!member(s, "subtype", &value) || !edge_is(value, "wireless") || !member(s, "action", &value)) return false;
  event->type = type_of(value, types);
  if (event->type && !strcmp(event->type, "rejected")) event->reason = value;
  if (member(s, "vap", &value) && is_interface(value)) event->interface = value;
  if (member(s, "ap", &value)) event->access_point = value;
  return event->type && member(s, "stamac", &value) && is_mac(value, event);
}
#endif
