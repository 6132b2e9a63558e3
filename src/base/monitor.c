#include "mirrorer/monitor.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

void um_monitor_progress(const um_monitor *monitor, const um_progress *progress)
{
    if (monitor != NULL && monitor->on_progress != NULL)
        monitor->on_progress(monitor->context, progress);
}

void um_monitor_message(const um_monitor *monitor, const char *format, ...)
{
    if (monitor == NULL || monitor->on_message == NULL)
        return;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    monitor->on_message(monitor->context, text);
}

bool um_monitor_stopped(const um_monitor *monitor)
{
    return monitor != NULL && monitor->stop != NULL && *monitor->stop != 0;
}
