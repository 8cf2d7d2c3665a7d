"""Call what there is, as a view of the shop would."""

from stock import reserve
from warehouse import charge, ship, some_order

order = some_order()
reserve.delay("bolt", amount=2)
charge.delay(order["number"], card="4111 1111 1111 1111")
print(ship.delay(order).get(timeout=30))
