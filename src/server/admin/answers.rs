//! What each request of one reply is answered with.

use std::sync::Arc;

use keygate_protocol::{Opcode, VerdictCode};
use zeroize::Zeroize;

use super::health::audit_stats;
use super::{Connection, Request, parse, parse_none};
use crate::admin::AdminError;
use crate::store::Rotating;

impl Connection {
    pub(super) async fn answer(
        &mut self,
        opcode: Opcode,
        request: &Request,
    ) -> Result<(), AdminError> {
        let shared = Arc::clone(&self.shared);
        let admin = &shared.admin;
        let caller = &self.caller.clone();
        let payload = &request.payload;
        match opcode {
            Opcode::KeyCreate => {
                let mut created = admin.create(caller, parse(payload)?).await?;
                self.put(request, &created);
                created.token.zeroize();
            }
            Opcode::KeyGet => self.put(request, &admin.get(caller, parse(payload)?).await?),
            Opcode::KeyUpdate => self.put(request, &admin.update(caller, parse(payload)?).await?),
            Opcode::KeyRotate => {
                let mut rotated = admin.rotate(caller, parse(payload)?).await?;
                self.put(request, &rotated);
                rotated.token.zeroize();
            }
            Opcode::KeySecret => {
                let mut made = admin.client_secret(caller, parse(payload)?).await?;
                self.put(request, &made);
                made.client_secret.zeroize();
            }
            Opcode::SigningAdd => {
                let mut added = admin.add_signing_key(caller, parse(payload)?).await?;
                self.put(request, &added);
                added.shared_secret.zeroize();
            }
            Opcode::SigningList => {
                self.put(request, &admin.signing_keys(caller, parse(payload)?).await?);
            }
            Opcode::SigningRemove => {
                self.put(request, &admin.remove_signing_key(caller, parse(payload)?).await?);
            }
            Opcode::KeySetStatus => {
                self.put(request, &admin.set_status(caller, parse(payload)?).await?);
            }
            Opcode::KeyDelete => self.put(request, &admin.delete(caller, parse(payload)?).await?),
            Opcode::KeyRestore => {
                self.put(request, &admin.restore(caller, parse(payload)?).await?);
            }
            Opcode::KeyReview => self.put(request, &admin.review(caller, parse(payload)?).await?),
            Opcode::KeyUsage => self.put(request, &admin.usage(caller, parse(payload)?).await?),
            Opcode::UsageHistory => {
                self.put(request, &admin.usage_history(caller, parse(payload)?).await?);
            }
            Opcode::UsageTop => {
                self.put(request, &admin.usage_top(caller, parse(payload)?).await?);
            }
            Opcode::Stats => {
                parse_none(payload)?;
                let mut stats = admin.stats(caller).await?;
                let connections = (shared.data_connections)() as u64;
                stats.insert("connections".to_owned(), connections);
                stats.insert("deferred".to_owned(), shared.desk.parked() as u64);
                let verdicts = shared.observers.by_code();
                let given = |wanted: fn(VerdictCode) -> bool| -> u64 {
                    verdicts.iter().filter(|(code, _)| wanted(*code)).map(|(_, given)| given).sum()
                };
                stats.insert("verdicts".to_owned(), given(|_| true));
                stats.insert("verdicts_denied".to_owned(), given(|code| !code.is_valid()));
                if let Some(audit) = &shared.audit {
                    stats.extend(audit_stats(audit));
                }
                stats.insert("records_unreadable".to_owned(), shared.unreadable);
                let refused = shared.doors.data.refused() + shared.doors.admin.refused();
                stats.insert("connections_refused".to_owned(), refused);
                self.put(request, &stats);
            }
            Opcode::Health => {
                parse_none(payload)?;
                self.put(request, &shared.health(caller));
            }
            Opcode::Reload => {
                parse_none(payload)?;
                self.put(request, &shared.reload.reload(caller).await?);
            }
            Opcode::PepperRotate
            | Opcode::PepperStatus
            | Opcode::MasterRotate
            | Opcode::MasterStatus => self.answer_of_secrets(opcode, request).await?,
            opcode => self.answer_of_tenants(opcode, request).await?,
        }
        Ok(())
    }

    async fn answer_of_secrets(
        &mut self,
        opcode: Opcode,
        request: &Request,
    ) -> Result<(), AdminError> {
        let admin = Arc::clone(&self.shared.admin);
        let caller = &self.caller.clone();
        parse_none(&request.payload)?;
        let of = match opcode {
            Opcode::PepperRotate | Opcode::PepperStatus => Rotating::Pepper,
            _ => Rotating::Master,
        };
        let status = match opcode {
            Opcode::PepperRotate | Opcode::MasterRotate => admin.rotate_secret(caller, of).await?,
            _ => admin.secret_status(caller, of).await?,
        };
        self.put(request, &status);
        Ok(())
    }

    async fn answer_of_tenants(
        &mut self,
        opcode: Opcode,
        request: &Request,
    ) -> Result<(), AdminError> {
        let admin = Arc::clone(&self.shared.admin);
        let caller = &self.caller.clone();
        let payload = &request.payload;
        match opcode {
            Opcode::TenantCreate => {
                self.put(request, &admin.create_tenant(caller, parse(payload)?).await?);
            }
            Opcode::TenantGet => {
                self.put(request, &admin.get_tenant(caller, parse(payload)?).await?);
            }
            Opcode::TenantUsage => {
                self.put(request, &admin.tenant_usage(caller, parse(payload)?).await?);
            }
            Opcode::TenantList => {
                self.put(request, &admin.list_tenants(caller, parse(payload)?).await?);
            }
            Opcode::TenantUpdate => {
                self.put(request, &admin.update_tenant(caller, parse(payload)?).await?);
            }
            Opcode::TenantSetStatus => {
                self.put(request, &admin.set_tenant_status(caller, parse(payload)?).await?);
            }
            Opcode::TenantDelete => {
                self.put(request, &admin.delete_tenant(caller, parse(payload)?).await?);
            }
            Opcode::TenantRestore => {
                self.put(request, &admin.restore_tenant(caller, parse(payload)?).await?);
            }
            opcode => self.answer_of_alerts(opcode, request).await?,
        }
        Ok(())
    }

    async fn answer_of_alerts(
        &mut self,
        opcode: Opcode,
        request: &Request,
    ) -> Result<(), AdminError> {
        let admin = Arc::clone(&self.shared.admin);
        let caller = &self.caller.clone();
        let payload = &request.payload;
        match opcode {
            Opcode::AlertList => self.put(request, &admin.alert_list(caller, &parse(payload)?)?),
            Opcode::AlertTest => {
                self.put(request, &admin.alert_test(caller, parse(payload)?).await?);
            }
            Opcode::AlertSecret => {
                let mut secrets = admin.alert_secret(caller, parse(payload)?).await?;
                self.put(request, &secrets);
                crate::admin::wipe(&mut secrets);
            }
            Opcode::AlertEnable => {
                self.put(request, &admin.alert_enable(caller, parse(payload)?).await?);
            }
            // Streams and the data plane are served elsewhere.
            _ => {}
        }
        Ok(())
    }
}
