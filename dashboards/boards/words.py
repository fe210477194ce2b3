"""How the codes in labels and columns are shown: in the words of conftrack's own pages, with a colour."""

from __future__ import annotations

from dashboards.boards.panels import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, YELLOW

KINDS = {
    "connect_failed": ("không kết nối được / could not connect", RED),
    "dropped": ("rớt khỏi cuộc họp / dropped out", RED),
    "absent": ("vắng mặt / absent", ORANGE),
    "flapping": ("chập chờn / comes and goes", ORANGE),
    "quality": ("hình hoặc tiếng kém / bad picture or sound", YELLOW),
    "unregistered": ("chưa đăng ký / not registered", ORANGE),
    "outage": ("mất hàng loạt / outage", RED),
}

CAUSES = {
    "left": ("tự gác máy / hung up", GREY),
    "ended": ("chủ trì kết thúc / ended by the host", GREY),
    "moved": ("được chuyển đi / moved on", GREY),
    "dropped": ("mất kết nối / connection lost", RED),
    "no_answer": ("không trả lời / no answer", RED),
    "unreachable": ("không liên lạc được / unreachable", RED),
    "busy": ("máy bận / busy", YELLOW),
    "declined": ("từ chối / declined", YELLOW),
    "negotiation": ("không thống nhất được mã hóa hoặc codec / no agreement on codec or encryption", RED),
    "capacity": ("hết tài nguyên / no capacity", RED),
    "auth": ("không được cho vào / not let in", YELLOW),
    "noise": ("cuộc gọi rác / noise", GREY),
    "unknown": ("không rõ nguyên nhân / unknown cause", PURPLE),
}

STATES = {
    "in_meeting": ("đang họp / in a meeting", GREEN),
    "degraded": ("đang họp, có sự cố / degraded", YELLOW),
    "failed": ("gặp sự cố / failed", RED),
    "maintenance": ("bảo trì / maintenance", BLUE),
    "idle": ("không họp / not in a meeting", GREY),
    "unknown": ("không rõ / unknown", PURPLE),
}

PRESENCE = {
    "on_time": ("đúng giờ / on time", GREEN),
    "late": ("vào muộn / late", YELLOW),
    "absent": ("vắng mặt / absent", RED),
    "excused": ("vắng có lý do / excused", GREY),
}
