# SPDX-License-Identifier: Apache-2.0
srcs-$(CFG_LOCKSTEP_KEY_SERVICE) += key-service.c
ifneq ($(CFG_LOCKSTEP_HUK),)
srcs-y += huk.c
endif
