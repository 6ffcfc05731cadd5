/* forms.h: the table of the forms that wifi-join knows, by vendor.
 *
 * A form names the programs whose messages it may be ("-": a line without a program), the event, and the text, as form.h
 * describes it. The first form that fits a line decides. Each `ex:` below is a log line and what it must give; a test runs
 * them: `=> joined MAC [INTERFACE] [@ACCESS-POINT] [auth=…] [reason=…]`, or `=> nothing`. For lines that need an argument of
 * wifi-join, the argument stands before the line. Each form has a part of its text in NEEDLES at the end.
 */
#ifndef FORMS_H
#define FORMS_H
#include "readers.h"

enum { ALWAYS, WITH_DHCP, WITH_LOGGER };

typedef struct {
  const char *name, *programs, *type, *text;
  const char *reason;                                     /* data.reason */
  int when;
  bool (*read)(edge_span message, wifi_event *event);     /* instead of a text */
  const char *topics;                                     /* if the line has topics, they begin with one of these */
  bool controller;                                        /* the header's host sends for many access points */
} wifi_form;

#define HOSTAPD "hostapd hostapd-* hostapd@* wpad wpa_supplicant libubnt -"
#define UNIFI "wevent libubnt syslog"
#define ASUS "wlceventd WLCEVENTD syslog -"
#define WIRELESS "wireless caps wifi"
#define BAND "{| (2,4 GHz)| (2.4 GHz)| (5 GHz)| (6 GHz)}"
#define GERMAN "{|neu |erneut |erstmalig |\xc3\xbc" "ber Repeater |hat sich |hat sich neu |hat sich erneut |hat sich erstmalig |wurde |wird }"
#define ENGLISH "{WLAN|Wireless|Wi-Fi|WiFi|Wireless LAN} device {|has |has been |was |newly |has newly |is being }"

/* Forms that differ in a word */
#define CEF_HEAD "0|Ubiquiti|UniFi Network{| Application}|{skip}|{skip}|WiFi Client "
#define CEF(verb, type) CEF_OF("-", "CEF:", verb, type), CEF_OF("CEF", "", verb, type) /* a relay takes "CEF:" for the program */
#define CEF_OF(program, start, verb, type)                                                                                       \
  {"unifi-cef", program, type, start CEF_HEAD verb "|{rest}UNIFI{c|lastC}onnectedToDeviceName={ap} UNIFI{most}clientMac={mac}", .controller = true}, \
  {"unifi-cef", program, type, start CEF_HEAD verb "|{most}UNIFIclientMac={mac}", .controller = true}
#define MIKROTIK(type, verb)                                                                                                     \
  {"mikrotik", "-", type, "{mac}@{interface}: " verb, .topics = WIRELESS},                                                       \
  {"mikrotik", "-", type, "{mac}@{interface}({rest}) " verb, .topics = WIRELESS},                                                \
  {"mikrotik", "-", type, "{mac}@{interface} " verb, .topics = WIRELESS}
#define FRITZBOX(type, what, address)                                                                                            \
  FRITZBOX_FROM("", type, what, address), FRITZBOX_FROM("[{ap}] ", type, what, address)
#define FRITZBOX_FROM(box, type, what, address)                                                                                  \
  {"fritzbox", "-", type, box what BAND ". MAC" address ": {mac}{.|,|}{rest}"},                                                  \
  {"fritzbox", "-", type, box what BAND ". {Geschwindigkeit|Speed} {skip} Mbit/s. MAC" address ": {mac}{.|,|}{rest}"},           \
  {"fritzbox", "-", type, box what BAND ", {rest} MAC {mac}.{end}"},                                                             \
  {"fritzbox", "-", type, box what BAND ": {rest} MAC" address ": {mac}{.|,|}{rest}"}
#define FRITZBOX_FAILED(box)                                                                                                     \
  {"fritzbox", "-", "rejected", box "WLAN-Anmeldung {|ist }gescheitert" BAND ": {rest}MAC-Adresse: {mac}{.|,|}{rest}", "refused"}, \
  {"fritzbox", "-", "rejected", box "WLAN-Ger{skip} Anmeldung gescheitert" BAND ": {rest}MAC-Adresse: {mac}{.|,|}{rest}", "refused"}
#define MEDIATEK(type, what)                                                                                                     \
  {"mediatek", "kernel wmond", type, "{interface}: ({skip}) STA({mac}) had " what},                                               \
  {"mediatek", "kernel wmond", type, "({skip}) STA({mac}) had " what},                                                           \
  {"mediatek", "VigorAP*", type, "({skip}) {mac} had " what}, KEENETIC(type, "kernel wmond", "", what),                          \
  KEENETIC(type, "ndm", "Network::Interface::{skip} ", what)
#define KEENETIC(type, programs, before, what)                                                                                   \
  {"mediatek", programs, type, before "STA({mac}) had " what}, {"mediatek", programs, type, before "{interface}: STA({mac}) had " what}, \
  {"mediatek", programs, type, before "\"{interface}\": STA({mac}) had " what}
#define KERNEL(type, programs, what)       /* "7981@C15L2,NAME() 12: …": other kernel lines quote names of networks and of devices */  \
  {"mediatek", programs, type, what}, {"mediatek", programs, type, "{skip}() {skip}: " what}, {"mediatek", programs, type, "{skip}(): {skip}() {skip}: " what}

static const wifi_form FORMS[] = {
    /* hostapd (OpenWrt and others), also hostapd -f FILE without a program, and wpa_supplicant as an access point
     * ex: Sat Jan 10 20:00:01 2026 daemon.notice hostapd: phy2-ap0: AP-STA-CONNECTED 06:aa:10:20:30:40 vlanid=7 auth_alg=sae => joined 06:aa:10:20:30:40 phy2-ap0 auth=sae
     * ex: Sat Jan 10 20:00:01 2026 daemon.notice hostapd: wlan1: AP-STA-CONNECTED 06:aa:10:20:30:40 auth_alg=ft => roamed 06:aa:10:20:30:40 wlan1 auth=ft
     * ex: Jan 10 20:00:01 loft hostapd-wlan0[7]: wlan0: AP-STA-DISCONNECTED 06-AA-10-20-30-40 => left 06:aa:10:20:30:40 wlan0 @loft
     * ex: wlan0: AP-STA-CONNECTED 06:aa:10:20:30:40 => joined 06:aa:10:20:30:40 wlan0
     * ex: Jan 10 20:00:01 pi wpa_supplicant[730]: wlan0: AP-STA-CONNECTED 06:aa:10:20:30:40 => joined 06:aa:10:20:30:40 wlan0 @pi
     * ex: Sat Jan 10 20:00:01 2026 daemon.notice netifd: radio0 (811): wlan0: AP-STA-CONNECTED 06:aa:10:20:30:40 => joined 06:aa:10:20:30:40 wlan0
     * ex: <29>Jan 10 20:00:01 loft HOME: hostapd: wlan0: AP-STA-CONNECTED 06:aa:10:20:30:40 => joined 06:aa:10:20:30:40 wlan0 @loft
     * ex: <29>Jan 10 20:00:01 loft logger: hostapd: wlan0: AP-STA-CONNECTED 06:aa:10:20:30:40 => nothing
     * ex: Sat Jan 10 20:00:01 2026 daemon.notice hostapd: wlan0: AP-STA-POSSIBLE-PSK-MISMATCH 06:aa:10:20:30:40 => rejected 06:aa:10:20:30:40 wlan0 reason=psk-mismatch
     * ex: Sat Jan 10 20:00:01 2026 daemon.info hostapd: wlan0: STA 06:aa:10:20:30:40 WPA: group key handshake completed (RSN) => active 06:aa:10:20:30:40 wlan0
     * ex: Sat Jan 10 20:00:01 2026 daemon.notice hostapd: wlan0: AP-ENABLED => restarted wlan0
     * ex: Sat Jan 10 20:00:01 2026 daemon.info hostapd: wlan0: STA 06:aa:10:20:30:40 IEEE 802.11: associated (aid 2) => nothing */
    {"hostapd", HOSTAPD, NULL, NULL, .read = read_hostapd},
    {"hostapd", HOSTAPD, "left", "{interface}: AP-STA-DISCONNECTED {mac}"},
    {"hostapd", HOSTAPD, "rejected", "{interface}: AP-STA-POSSIBLE-PSK-MISMATCH {mac}", "psk-mismatch"},
    {"hostapd", HOSTAPD, "rejected", "{interface}: CTRL-EVENT-EAP-FAILURE2 {mac}", "eap-failure"},
    {"hostapd", HOSTAPD, "active", "{interface}: STA {mac} WPA: group key handshake completed"},
    {"hostapd", HOSTAPD, "restarted", "{interface}: AP-ENABLED"},

    /* hostapd -B, which writes only these lines to syslog: needs --logger. "associated" comes before the password is checked.
     * ex: --logger Jan 10 20:00:01 pi hostapd: wlan0: STA 06:aa:10:20:30:40 IEEE 802.11: associated (aid 1) => joined 06:aa:10:20:30:40 wlan0 @pi
     * ex: --logger Jan 10 20:00:01 pi hostapd: wlan0: STA 06:aa:10:20:30:40 IEEE 802.11: authentication OK (FT) => roamed 06:aa:10:20:30:40 wlan0 @pi
     * ex: --logger Jan 10 20:00:01 pi hostapd: wlan0: STA 06:aa:10:20:30:40 WPA: pairwise key handshake completed (RSN) => joined 06:aa:10:20:30:40 wlan0 @pi
     * ex: --logger Jan 10 20:00:01 pi hostapd: wlan0: STA 06:aa:10:20:30:40 IEEE 802.11: deauthenticated due to inactivity (timer DEAUTH/REMOVE) => left 06:aa:10:20:30:40 wlan0 @pi
     * ex: --logger Jan 10 20:00:01 pi hostapd: wlan0: STA 06:aa:10:20:30:40 IEEE 802.11: disassociated => left 06:aa:10:20:30:40 wlan0 @pi
     * ex: --logger Jan 10 20:00:01 pi hostapd: wlan0: STA 06:aa:10:20:30:40 IEEE 802.11: authenticated => nothing */
    {"hostapd-logger", HOSTAPD, "joined", "{interface}: STA {mac} IEEE 802.11: associated", .when = WITH_LOGGER},
    {"hostapd-logger", HOSTAPD, "roamed", "{interface}: STA {mac} IEEE 802.11: {reassociated|authentication OK (FT)}", .when = WITH_LOGGER},
    {"hostapd-logger", HOSTAPD, "joined", "{interface}: STA {mac} WPA: pairwise key handshake completed", .when = WITH_LOGGER},
    {"hostapd-logger", HOSTAPD, "left", "{interface}: STA {mac} IEEE 802.11: {disassociated|deauthenticated}", .when = WITH_LOGGER},

    /* UniFi access points: hostapd as above, wevent and stahtd, which older versions print as libubnt or syslog
     * ex: Jan 10 20:00:01 loft ("U7LT,aabbcc001122,v3.7.28.5442") libubnt[98]: wevent.ubnt_custom_event(): EVENT_STA_JOIN ath3: 06:aa:10:20:30:40 / 2 => joined 06:aa:10:20:30:40 ath3 @loft
     * ex: Jan 10 20:00:01 loft U7LR||aabbcc001122||v4.3.20.11298: : wevent[98]: wevent.ubnt_custom_event(): EVENT_STA_LEAVE ath3: 06:aa:10:20:30:40 / 2 => left 06:aa:10:20:30:40 ath3 @loft
     * ex: Jan 10 20:00:01 Living Room AP aabbcc001122,U6-Mesh-6.7.10+15621: hostapd: hostapd[99]: ath3: AP-STA-CONNECTED 06:aa:10:20:30:40 => joined 06:aa:10:20:30:40 ath3 @Living Room AP
     * ex: Jan 10 20:00:01 loft U6LR,aabbcc001122,v6.0.15: stahtd: stahtd[5]: [STA-TRACKER].stahtd_dump_event(): {"message_type":"STA_ASSOC_TRACKER","mac":"06:aa:10:20:30:40","vap":"ra0","event_type":"sta_roam"} => roamed 06:aa:10:20:30:40 ra0 @loft
     * ex: Sat Jan 10 20:00:01 2026 user.info : stahtd[5]: [STA-TRACKER].stahtd_dump_event(): {"message_type":"STA_ASSOC_TRACKER","mac":"06:aa:10:20:30:40","vap":"ra0","event_type":"fixup"} => nothing */
    {"unifi-wevent", UNIFI, "joined", "{|wevent.ubnt_custom_event(): }EVENT_STA_JOIN {interface}: {mac}"},
    {"unifi-wevent", UNIFI, "left", "{|wevent.ubnt_custom_event(): }EVENT_STA_LEAVE {interface}: {mac}"},
    {"unifi-stahtd", "stahtd libubnt syslog", NULL, NULL, .read = read_stahtd},

    /* UniFi Network, Activity Logging (CEF); a client's name comes before its MAC
     * ex: Jan 10 20:00:01 UDM CEF:0|Ubiquiti|UniFi Network|9.4.19|400|WiFi Client Connected|1|UNIFIhost=UDM UNIFIconnectedToDeviceName=Loft AP UNIFIclientHostname=x UNIFIclientMac=06:aa:10:20:30:99 y UNIFIclientMac=06:aa:10:20:30:40 UNIFIwifiName=Home => joined 06:aa:10:20:30:40 @Loft AP
     * ex: Jan 10 20:00:01 UDM CEF:0|Ubiquiti|UniFi Network|9.4.19|402|WiFi Client Roamed|1|UNIFIhost=UDM UNIFIconnectedToDeviceName=Loft UNIFIclientMac=06:aa:10:20:30:40 UNIFIwifiName=Home => roamed 06:aa:10:20:30:40 @Loft
     * ex: Jan 10 20:00:01 UDM CEF:0|Ubiquiti|UniFi Network|9.4.19|401|WiFi Client Disconnected|2|UNIFIhost=UDM UNIFIclientMac=06:aa:10:20:30:40 => left 06:aa:10:20:30:40
     * ex: <14>1 2026-01-10T20:00:01Z UDM CEF - - - 0|Ubiquiti|UniFi Network|9.4.19|400|WiFi Client Connected|1|UNIFIhost=UDM UNIFIclientMac=06:aa:10:20:30:40 => joined 06:aa:10:20:30:40
     * ex: Jan 10 20:00:01 UDM CEF:0|Ubiquiti|UniFi Network|9.4.19|403|Wired Client Connected|1|UNIFIhost=UDM UNIFIclientMac=06:aa:10:20:30:40 => nothing */
    CEF("Connected", "joined"), CEF("Roamed", "roamed"), CEF("Disconnected", "left"),

    /* MikroTik RouterOS: wireless, wifi and CAPsMAN, in its own format and as BSD syslog
     * ex: wireless,info 06:AA:10:20:30:40@wlan1: connected, signal strength -60 => joined 06:aa:10:20:30:40 wlan1
     * ex: Jan 10 20:00:01 attic wireless,info 06:AA:10:20:30:40@wlan1: disconnected, received deauth: sending station leaving (3) => left 06:aa:10:20:30:40 wlan1 @attic
     * ex: <30>Jan 10 20:00:01 My Router 06:AA:10:20:30:40@wifi1(My Home) connected, signal strength -75 => joined 06:aa:10:20:30:40 wifi1 @My Router
     * ex: caps,info attic: 06:AA:10:20:30:40@cap2 disconnected, group key exchange timeout, signal strength -81 => left 06:aa:10:20:30:40 cap2
     * ex: Jan 10 20:00:01 attic 06:AA:10:20:30:40@hall-5g(Home) roamed to 06:AA:10:20:30:40@hall-2g(Home), signal strength -60 => roamed 06:aa:10:20:30:40 hall-2g @attic
     * ex: Jan 10 20:00:01 attic 06:AA:10:20:30:40@wlan1: lost connection, synchronization timeout => nothing
     * ex: Jan 10 20:00:01 attic 06:AA:10:20:30:40@wlan1: disconnected, ok (10.0.0.9): login failed: invalid username or password => nothing
     * ex: Jan 10 20:00:01 attic 06:AA:10:20:30:40@wlan1: disconnected logged in, 10.0.0.9 from 10.0.0.8 => nothing
     * ex: Jan 10 20:00:01 attic script,info: 06:AA:10:20:30:40@wlan1: connected, said a script => nothing */
    MIKROTIK("joined", "connected{end}"), MIKROTIK("joined", "connected, signal strength {skip}{end}"),
    MIKROTIK("left", "disconnected{end}"), MIKROTIK("left", "disconnected, {rest}"),
    MIKROTIK("roamed", "reassociat{ed|ing}"),
    {"mikrotik", "-", "roamed", "{mac}@{rest} roamed to {skip}@{interface}({rest}), signal strength {skip}{end}", .topics = WIRELESS},
    {"mikrotik", "-", "roamed", "{mac}@{rest} roamed to {skip}@{interface}, signal strength {skip}{end}", .topics = WIRELESS},
    {"mikrotik", "-", "restarted", "router {rebooted|was rebooted}", .topics = "system"},

    /* Asus and Asuswrt-Merlin; a status other than 0 is a refusal
     * ex: Jan 10 20:00:01 syslog: WLCEVENTD wlceventd_proc_event(449): eth1: Assoc 06:AA:10:20:30:40, status: 0, reason: d11 RC reserved (0) => joined 06:aa:10:20:30:40 eth1
     * ex: Jan 10 20:00:01 RT-AX88U wlceventd: wlceventd_proc_event(556): eth7: ReAssoc 06:AA:10:20:30:40, status: Successful (0), rssi:-48 => roamed 06:aa:10:20:30:40 eth7 @RT-AX88U
     * ex: Sat Jan 10 20:00:01 2026  [notice] wlceventd_proc_event(511): wl0.1: Disassoc 06:AA:10:20:30:40, status: 0, reason: Disassociated due to inactivity (4), rssi:0 => left 06:aa:10:20:30:40 wl0.1
     * ex: Jan 10 20:00:01 wlceventd: wlceventd_proc_event(556): eth7: Assoc 06:AA:10:20:30:40, status: Unspecified failure (1), rssi:-48 => nothing
     * ex: Jan 10 20:00:01 wlceventd: wlceventd_proc_event(527): eth7: Auth 06:AA:10:20:30:40, status: Successful (0), rssi:0 => nothing */
    {"asus", ASUS, "joined", "{|WLCEVENTD }wlceventd_proc_event({skip}): {interface}: Assoc {mac}, status: {0|Successful (0)}{,|}"},
    {"asus", ASUS, "roamed", "{|WLCEVENTD }wlceventd_proc_event({skip}): {interface}: ReAssoc {mac}, status: {0|Successful (0)}{,|}"},
    {"asus", ASUS, "left", "{|WLCEVENTD }wlceventd_proc_event({skip}): {interface}: {Disassoc|Disassoc_ind|Deauth_ind|Deauth} {mac},"},

    /* TP-Link Omada
     * ex: Jan 10 20:00:01 OC200 2026-01-10 20:00:01 Home - - - [client:Phone:06-AA-10-20-30-40] is connected to [ap:Loft 2:AA-BB-CC-00-00-01] with SSID "Home" on channel 36. => joined 06:aa:10:20:30:40 @Loft 2
     * ex: Jan 10 20:00:01 OC200 2026-01-10 20:00:01 Home - - - [client:Phone:06-AA-10-20-30-40] (IP: 10.0.0.2) went offline from SSID "Home" on [ap:Loft:AA-BB-CC-00-00-01] (3h58m connected, 25.26MB). => left 06:aa:10:20:30:40 @Loft
     * ex: Jan 10 20:00:01 OC200 2026-01-10 20:00:01 Our Home - - - [client:Phone:06-AA-10-20-30-40] is roaming from [ap:Loft:AA-BB-CC-00-00-01][Channel 36] to [ap:Hall:AA-BB-CC-00-00-02][Channel 1] with SSID "Home" => roamed 06:aa:10:20:30:40 @Hall
     * ex: Jan 10 20:00:01 OC200 2026-01-10 20:00:01 Home - - - [client:PC:06-AA-10-20-30-40] is connected to [switch:Rack:AA-BB-CC-00-00-03] on LAN network. => nothing */
    {"omada", "-", NULL, NULL, .read = read_omada, .controller = true},

    /* Cisco Meraki MR
     * ex: <134>1 1701108917.492881624 AP_loft events type=association radio='1' vap='0' client_mac='06:AA:10:20:30:40' channel='36' rssi='40' => joined 06:aa:10:20:30:40 @AP_loft
     * ex: 1 1701108917.492881624 AP_loft events type=disassociation radio='1' vap='0' client_mac='06:AA:10:20:30:40' reason='8' => left 06:aa:10:20:30:40 @AP_loft
     * ex: 1 1701108917.492881624 AP_loft urls src=10.0.0.2:5 mac=06:AA:10:20:30:40 request: GET http://x/?events type=association client_mac='06:AA:10:20:30:40' => nothing */
    {"meraki", "-", NULL, NULL, .read = read_meraki},

    /* Cisco IOS access points: the message's code is in the program's place
     * ex: <189>45: loft: *Jan 10 20:00:01.123 UTC: %DOT11-6-ASSOC: Interface Dot11Radio0, Station phone 06aa.1020.3040 Associated KEY_MGMT[WPAv2 PSK] => joined 06:aa:10:20:30:40 Dot11Radio0 @loft
     * ex: 000046: *Jan 10 20:00:01.123: %DOT11-6-ASSOC: Interface Dot11Radio1, Station   06aa.1020.3040 Reassociated KEY_MGMT[WPAv2] => roamed 06:aa:10:20:30:40 Dot11Radio1
     * ex: Jan 10 20:00:01 10.0.0.2 47: Jan 10 20:00:01.123: %DOT11-6-DISASSOC: Interface Dot11Radio0, Deauthenticating Station 06aa.1020.3040 Reason: Sending station has left the BSS => left 06:aa:10:20:30:40 Dot11Radio0 @10.0.0.2
     * ex: 48: 1w2d: %DOT11-6-ROAMED: Station 06aa.1020.3040 Roamed to 0012.d9a0.1234 => roamed 06:aa:10:20:30:40 */
    {"cisco-ios", "%DOT11-6-ASSOC", "joined", "Interface {interface}, Station {mac} Associated"},
    {"cisco-ios", "%DOT11-6-ASSOC", "joined", "Interface {interface}, Station {rest} {mac} Associated"},
    {"cisco-ios", "%DOT11-6-ASSOC", "roamed", "Interface {interface}, Station {mac} Reassociated"},
    {"cisco-ios", "%DOT11-6-ASSOC", "roamed", "Interface {interface}, Station {rest} {mac} Reassociated"},
    {"cisco-ios", "%DOT11-6-DISASSOC", "left", "Interface {interface}, {Deauthenticating|Disassociating} Station {mac}"},
    {"cisco-ios", "%DOT11-6-DISASSOC", "left", "Interface {interface}, {Deauthenticating|Disassociating} Station {rest} {mac} {rest}"},
    {"cisco-ios", "%DOT11-6-ROAMED", "roamed", "Station {mac} Roamed to"},
    {"cisco-ios", "%DOT11-4-MAXRETRIES", "left", "Packet to client {mac} reached max retries, removing the client"},
    {"cisco-ios", "%DOT11-7-AUTH_FAILED", "rejected", "Station {mac} Authentication failed", "auth-failure"},
    {"cisco-ios", "%SYS-5-RESTART", "restarted", "System restarted"},

    /* Aruba Instant and controllers
     * ex: Jan 10 20:00:01 stm[2452]: <501100> <2452> <NOTI> <wcp2>  Assoc success @ 20:00:01.606562: 06:aa:10:20:30:40: AP 10.0.0.2-02:00:00:00:00:09-loft => joined 06:aa:10:20:30:40 @loft
     * ex: Jan 10 20:00:01 2026 10.0.0.2 <10.0.0.2 02:00:00:00:00:09> stm[2764]: <501105> <NOTI> |AP loft@10.0.0.2 stm|  Deauth from sta: 06:aa:10:20:30:40: AP 10.0.0.2-02:00:00:00:00:09-loft Reason STA has left => left 06:aa:10:20:30:40 @loft
     * ex: Jan 10 20:00:01 stm[2764]: <501106> <NOTI> |AP loft@10.0.0.2 stm|  Deauth to sta: 06:aa:10:20:30:40: Ageout AP 10.0.0.2-02:00:00:00:00:09-loft wifi_deauth_sta => left 06:aa:10:20:30:40 @loft
     * ex: Jan 10 20:00:01 2026 10.0.0.2 <10.0.0.2 02:00:00:00:00:09> cli[2464]: <541004> <WARN> |AP loft@10.0.0.2 cli|  recv_sta_online: receive station msg, mac-06:aa:10:20:30:40 bssid-02:00:00:00:00:09 essid-Home. => joined 06:aa:10:20:30:40 @10.0.0.2
     * ex: Jan 10 20:00:01 stm[2764]: <501090> <NOTI> |AP loft@10.0.0.2 stm|  Probe request: 06:aa:10:20:30:99: SSID Assoc success @ 1: 06:aa:10:20:30:40: AP 1-2-x => nothing
     * ex: Jan 10 20:00:01 stm[2764]: <501095> <NOTI> |AP loft@10.0.0.2 stm|  Assoc request @ 20:00:01.6: 06:aa:10:20:30:40 (SN 5): AP 10.0.0.2-02:00:00:00:00:09-loft => nothing */
    {"aruba", "stm cli", NULL, NULL, .read = read_aruba},

    /* FortiAP and FortiGate
     * ex: <189>date=2026-01-10 time=20:00:01 devname="FG" type="event" subtype="wireless" ap="Loft" vap="home" ssid="Home" stamac="06:aa:10:20:30:40" action="client-authentication" msg="Client authenticated" => joined 06:aa:10:20:30:40 home @Loft
     * ex: date=2026-01-10 time=20:00:01 devname=FG type=event subtype=wireless action=client-disassociation stamac=06:aa:10:20:30:40 ap=Loft => left 06:aa:10:20:30:40 @Loft
     * ex: date=2026-01-10 time=20:00:01 devname="FG" type="event" subtype="wireless" action="probe-req" msg="action=\"client-authentication\" stamac=\"06:aa:10:20:30:40\"" => nothing */
    {"fortinet", "-", NULL, NULL, .read = read_fortinet, .controller = true},

    /* FRITZ!Box, German and English; a device's name stands between two fixed texts, or after the MAC
     * ex: 10.01.26 20:00:01 WLAN-Gerät angemeldet (2,4 GHz), 72 Mbit/s, esp32, IP 192.0.2.42, MAC 06:AA:10:20:30:40. => joined 06:aa:10:20:30:40
     * ex: 10.01.26 20:00:01 [Repeater Loft] WLAN-Gerät wurde abgemeldet (5 GHz), x, IP 1.2.3.4, MAC 06:AA:10:20:30:99., IP 192.0.2.42, MAC 06:AA:10:20:30:40. => left 06:aa:10:20:30:40 @Repeater Loft
     * ex: 10.01.26 20:00:01 [repeater] WLAN-Gerät angemeldet (5 GHz), 866 Mbit/s, phone, IP 192.0.2.42, MAC 06:AA:10:20:30:40. => joined 06:aa:10:20:30:40 @repeater
     * ex: 10.01.26 20:00:01 WLAN-Gerät hat sich neu angemeldet (5 GHz), 866 Mbit/s, phone, IP 192.0.2.42, MAC 06:AA:10:20:30:40. => joined 06:aa:10:20:30:40
     * ex: 10.01.26 20:00:01 WLAN-Gerät hat sich abgemeldet (5 GHz). MAC-Adresse: 06:AA:10:20:30:40, Name: x, IP 1.2.3.4, MAC 06:AA:10:20:30:99. => left 06:aa:10:20:30:40
     * ex: 10.01.26 20:00:01 WLAN-Gerät wird abgemeldet (5 GHz): WLAN-Gerät antwortet nicht. MAC-Adresse: 06:AA:10:20:30:40. => left 06:aa:10:20:30:40
     * ex: 10.01.26 20:00:01 WLAN-Anmeldung ist gescheitert (5 GHz): Ungültiger WLAN-Schlüssel. MAC-Adresse: 06:AA:10:20:30:40. => rejected 06:aa:10:20:30:40 reason=refused
     * ex: 10.01.26 20:00:01 WLAN-Gerät Anmeldung gescheitert (5 GHz): ungültiger WLAN-Schlüssel. MAC-Adresse: 06:AA:10:20:30:40. => rejected 06:aa:10:20:30:40 reason=refused
     * ex: Jan 10 20:00:01 fritz.box Wireless device logged on (5 GHz), 866 Mbit/s, phone, IP 192.0.2.42, MAC 06:AA:10:20:30:40. => joined 06:aa:10:20:30:40 @fritz.box
     * ex: 10.01.26 20:00:01 Internetverbindung WLAN-Gerät angemeldet (5 GHz), 866 Mbit/s, phone, IP 192.0.2.42, MAC 06:AA:10:20:30:40. => nothing
     * ex: 10.01.26 20:00:01 Anmeldung der App an der FRITZ!Box von WLAN-Gerät angemeldet, MAC 06:AA:10:20:30:40. => nothing */
    FRITZBOX("joined", "{|Neues }WLAN-Ger{skip} " GERMAN "angemeldet", "-Adresse"), FRITZBOX("left", "WLAN-Ger{skip} " GERMAN "abgemeldet", "-Adresse"),
    FRITZBOX("joined", ENGLISH "{registered|logged on|logged in|connected|signed in|re-registered}", " address"),
    FRITZBOX("left", ENGLISH "{deregistered|unregistered|logged off|logged out|disconnected|signed out|signed off}", " address"),
    FRITZBOX_FAILED(""), FRITZBOX_FAILED("[{ap}] "),
    {"fritzbox", "-", "rejected", "{WLAN|Wireless} {login|logon|registration} failed" BAND ": {rest}MAC address: {mac}{.|,|}{rest}", "refused"},

    /* MediaTek and Ralink drivers (their kernel lines), Keenetic, DrayTek's VigorAP
     * ex: Sat Jan 10 20:00:01 2026 kern.warn kernel: [129533.774564] 7981@C15L2,PeerPairMsg4Action() 6999: AP SETKEYS DONE(rax0) - AKMMap=WPA2PSK, wcid=4 from 06:aa:10:20:30:40 => joined 06:aa:10:20:30:40 rax0
     * ex: Sat Jan 10 20:00:01 2026 kern.warn kernel: [129533.774564] 7981@C13L2,MacTableDeleteEntry() 1921: Del Sta:06:aa:10:20:30:40 => left 06:aa:10:20:30:40
     * ex: Jan 10 20:00:01 loft kernel: [5.5] 7981@C08L2,ap_peer_disassoc_action() 2050: ASSOC - 1 receive DIS-ASSOC request from 06:aa:10:20:30:40 => left 06:aa:10:20:30:40 @loft
     * ex: Jan 10 20:00:01 loft kernel: wifi_sys_disconn_act(): MacTableDeleteEntry() 1921: Del Sta:06:aa:10:20:30:40 => left 06:aa:10:20:30:40 @loft
     * ex: Jan 10 20:00:01 loft kernel: usb 1-1: Product: AP SETKEYS DONE(ra0) - x from 06:aa:10:20:30:40 => nothing
     * ex: Jan 10 20:00:01 loft kernel: [5.5] 7981@C08L2,scan() 7: SSID=AP SETKEYS DONE - x from 06:aa:10:20:30:40 => nothing
     * ex: Jan 10 20:00:01 keenetic wmond: WifiMaster0/AccessPoint0: (MT76x2) STA(06:aa:10:20:30:40) had associated successfully. => joined 06:aa:10:20:30:40 WifiMaster0/AccessPoint0 @keenetic
     * ex: Jan 10 20:00:01 keenetic ndm: Network::Interface::Rtx::WifiMonitor: "WifiMaster1/AccessPoint0": STA(06:aa:10:20:30:40) had associated successfully (FT mode). => roamed 06:aa:10:20:30:40 WifiMaster1/AccessPoint0 @keenetic
     * ex: Jan 10 20:00:01 keenetic wmond: WifiMaster0/AccessPoint0: (MT76x2) STA(06:aa:10:20:30:40) had disassociated by STA (reason: 8). => left 06:aa:10:20:30:40 WifiMaster0/AccessPoint0 @keenetic
     * ex: Jan 10 20:00:01 keenetic ndm: Core::Scgi::Auth: user "STA(06:aa:10:20:30:40) had associated successfully." failed to log in => nothing
     * ex: Jan 10 20:00:01 VigorAP903: (5G) 06:AA:10:20:30:40 had associated successfully => joined 06:aa:10:20:30:40
     * ex: Sat Jan 10 20:00:01 2026 kern.warn kernel: [5.5] 7981@C08L3,ap_peer_auth_req_at_idle_action() 2: Recv AUTH from 06:aa:10:20:30:40 => nothing */
    KERNEL("joined", "kernel VigorAP*", "AP SETKEYS DONE({interface}) - {rest}from {mac}"),
    KERNEL("joined", "kernel VigorAP*", "AP SETKEYS DONE - {rest}from {mac}"), KERNEL("left", "kernel", "Del Sta:{mac}"),
    KERNEL("left", "kernel", "{|ASSOC - |AUTH - }receive {DE-AUTH|DIS-ASSOC}{rest} from {mac}{,|}"),
    KERNEL("left", "kernel", "{ASSOC|AUTH} - {skip} receive {DE-AUTH|DIS-ASSOC}{rest} from {mac}{,|}"),
    MEDIATEK("roamed", "{associated successfully (FT mode)|reassociated|re-associated}"), MEDIATEK("joined", "associated successfully"),
    MEDIATEK("left", "{disassociated|deauthenticated|been aged-out and disassociated}"),

    /* dnsmasq's leases, where nothing better is logged: needs --dhcp. A cable counts, too.
     * ex: --dhcp Sat Jan 10 20:00:01 2026 daemon.info dnsmasq-dhcp[1]: DHCPACK(br-lan) 192.168.1.132 06:aa:10:20:30:40 phone => joined 06:aa:10:20:30:40
     * ex: --dhcp Jan 10 20:00:01 loft dnsmasq-dhcp[1]: 3721 DHCPACK(br-lan) 192.168.1.132 06:aa:10:20:30:40 => joined 06:aa:10:20:30:40 @loft
     * ex: --dhcp Sat Jan 10 20:00:01 2026 daemon.info dnsmasq-dhcp[1]: DHCPRELEASE(br-lan) 192.168.1.132 06:aa:10:20:30:40 => left 06:aa:10:20:30:40
     * ex: --dhcp Sat Jan 10 20:00:01 2026 daemon.info dnsmasq-dhcp[1]: DHCPREQUEST(br-lan) 192.168.1.132 06:aa:10:20:30:40 DHCPACK(br-lan) 192.168.1.1 06:aa:10:20:30:99 => nothing
     * ex: Sat Jan 10 20:00:01 2026 daemon.info dnsmasq-dhcp[1]: DHCPACK(br-lan) 192.168.1.132 06:aa:10:20:30:40 phone => nothing */
    {"dnsmasq", "dnsmasq-dhcp dnsmasq", "joined", "DHCPACK({skip}) {skip} {mac}", .when = WITH_DHCP},
    {"dnsmasq", "dnsmasq-dhcp", "joined", "{skip} DHCPACK({skip}) {skip} {mac}", .when = WITH_DHCP},
    {"dnsmasq", "dnsmasq-dhcp dnsmasq", "left", "DHCPRELEASE({skip}) {skip} {mac}", .when = WITH_DHCP},
    {"dnsmasq", "dnsmasq-dhcp", "left", "{skip} DHCPRELEASE({skip}) {skip} {mac}", .when = WITH_DHCP},

    /* A start of the access point itself
     * ex: Sat Jan 10 20:00:01 2026 kern.notice kernel: [    0.000000] Linux version 6.6.63 (builder@buildhost) => restarted
     * ex: Jan 10 20:00:01 loft system,error,critical router was rebooted without proper shutdown => restarted @loft */
    {"linux", "kernel", "restarted", "Linux version"},
};

/* For the search, a part of each line above. All have 11 bytes, the length of the shortest fixed text (": connected"), and are the
 * part whose pairs of bytes, most of all the last one, are rare in ordinary logs: each common pair makes the search slower. */
static const char *const NEEDLES[] = {
    "-CONNECTED ", "SCONNECTED ", "POSSIBLE-PS", "-EAP-FAILUR", "e completed", " AP-ENABLED", "VENT_STA_JO", "VENT_STA_LE",
    "STA_ASSOC_T", "|WiFi Clien", "l strength ", ": connected", "isconnected", " reassociat", "er rebooted", "as rebooted",
    "entd_proc_e", "ected to [a", "nnect to [a", "fline from ", "ing from [a", "med from [a", "events type", "11-6-ASSOC:",
    "-6-DISASSOC", "11-6-ROAMED", "-4-MAXRETRI", "11-7-AUTH_F", "5-RESTART: ", " success @ ", "_sta_online", "sta_offline", " from sta: ", "th to sta: ",
    "oc to sta: ", "tion=\"clien", "ction=clien", " angemeldet", " abgemeldet", "WLAN-Anmeld", "gescheitert", "WLAN device", "less device",
    "i-Fi device", "WiFi device", "AP SETKEYS ", "bleDeleteEn", "ive DE-AUTH", "e DIS-ASSOC", "ad associat", "d disassoci",
    "ad deauthen", "een aged-ou", "ad reassoci", "-associated", "Linux versi",
};
static const char *const DHCP_NEEDLES[] = {"DHCPACK(", "DHCPRELEASE("};
static const char *const LOGGER_NEEDLES[] = {"1: associated", "1: reassociated", "tication OK (FT)", "irwise key handshake", "1: disassociated", "1: deauthenticated"};
#endif
