//! The HTTP origin: admin API, pages, and the upgrade to MQTT
