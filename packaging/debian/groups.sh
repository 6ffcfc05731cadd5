# The group of those who may change things, and the groups that read the log of the system.
getent group edge-operator >/dev/null || groupadd --system edge-operator
for group in systemd-journal adm; do
	if getent group $group >/dev/null; then usermod --append --groups $group edge-agent; fi
done
