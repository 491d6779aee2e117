//! One file per noun: what is asked (DTO), what is answered (DTO), the handler, and its line in the OpenAPI document.
//!
//! No rule lives here: a handler reads the question, calls one use case of `anlan_app`, and shapes the answer. Start at [`api`].

mod accident;
mod alarm;
mod assessment;
mod attachment;
mod audit;
mod certificate;
mod combination;
mod command;
mod device;
mod document;
mod duty;
mod enterprise;
mod event;
mod export;
mod hold;
mod leaders;
mod live;
mod media;
mod modbus;
mod networking;
mod node;
mod offer;
mod open_data;
mod order;
mod pack;
mod plan;
mod point;
mod proof;
mod record;
mod region;
mod register;
mod responsibility;
mod retention;
mod road;
mod roster;
mod rule;
mod session;
mod sheet;
mod status;
mod submission;
mod summary;
mod test_clock;
mod thinned;
mod transfer;
mod user;
mod vehicle;
mod whistleblow;

use axum::Json;
use axum::extract::DefaultBodyLimit;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::problem::Failure;
pub(crate) use sheet::XLSX;

use crate::{FILE_BYTES, OPEN_BODY_BYTES, Shared};

/// What a handler answers.
pub(crate) type Answer<T> = Result<Json<T>, Failure>;

/// Endpoints that read a body before anybody is known. `layers::limit` names the same addresses.
fn open() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(session::setup))
        .routes(routes!(session::sign_in, session::current, session::sign_out))
        .routes(routes!(test_clock::read, test_clock::change))
        .routes(routes!(certificate::verify))
        .layer(DefaultBodyLimit::max(OPEN_BODY_BYTES))
}

/// Endpoints that read a file.
fn files() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(sheet::template, sheet::import))
        .routes(routes!(sheet::enterprise_template, sheet::enterprise_import))
        .layer(DefaultBodyLimit::max(FILE_BYTES))
}

/// Every endpoint below `/api/v1`.
pub(crate) fn api() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .merge(open())
        .merge(files())
        .routes(routes!(status::status))
        .routes(routes!(certificate::keys))
        .routes(routes!(session::reauthenticate))
        .routes(routes!(session::begin_second_factor, session::remove_second_factor))
        .routes(routes!(session::confirm_second_factor))
        .routes(routes!(region::list))
        .routes(routes!(region::counties))
        .routes(routes!(summary::summary))
        .routes(routes!(leaders::leaders))
        .routes(routes!(accident::statistics))
        .routes(routes!(enterprise::list, enterprise::create))
        .routes(routes!(enterprise::get, enterprise::update))
        .routes(routes!(enterprise::merge))
        .routes(routes!(device::list, device::create))
        .routes(routes!(device::get, device::update))
        .routes(routes!(device::replace_secret))
        .routes(routes!(device::put_points))
        .routes(routes!(modbus::get, modbus::put, modbus::delete))
        .routes(routes!(point::list))
        .routes(routes!(point::latest))
        .routes(routes!(point::rollup_all))
        .routes(routes!(point::top))
        .routes(routes!(point::get, point::update))
        .routes(routes!(point::readings))
        .routes(routes!(point::readings_csv))
        .routes(routes!(point::rollup))
        .routes(routes!(point::rollup_as_columns))
        .routes(routes!(point::readings_columns))
        .routes(routes!(combination::list, combination::create))
        .routes(routes!(combination::get, combination::update, combination::delete))
        .routes(routes!(vehicle::list))
        .routes(routes!(vehicle::latest))
        .routes(routes!(vehicle::get, vehicle::update))
        .routes(routes!(vehicle::adopt))
        .routes(routes!(vehicle::positions))
        .routes(routes!(media::list))
        .routes(routes!(media::content))
        .routes(routes!(road::trips))
        .routes(routes!(road::track))
        .routes(routes!(road::ratios))
        .routes(routes!(duty::now))
        .routes(routes!(roster::above))
        .routes(routes!(roster::put_told))
        .routes(routes!(duty::list, duty::create))
        .routes(routes!(duty::repeat))
        .routes(routes!(duty::update))
        .routes(routes!(duty::swap))
        .routes(routes!(duty::remove))
        .routes(routes!(duty::hand_over))
        .routes(routes!(duty::confirm))
        .routes(routes!(alarm::list))
        .routes(routes!(alarm::get))
        .routes(routes!(alarm::acknowledge))
        .routes(routes!(alarm::close))
        .routes(routes!(networking::get))
        .routes(routes!(networking::missing))
        .routes(routes!(node::list))
        .routes(routes!(node::update))
        .routes(routes!(node::revoke))
        .routes(routes!(node::resume))
        .routes(routes!(node::invitations, node::invite))
        .routes(routes!(node::confirm))
        .routes(routes!(node::forget))
        .routes(routes!(node::parent, node::join))
        .routes(routes!(order::list, order::make))
        .routes(routes!(order::targets))
        .routes(routes!(order::get))
        .routes(routes!(order::answer))
        .routes(routes!(order::withdraw))
        .routes(routes!(submission::list))
        .routes(routes!(submission::put))
        .routes(routes!(submission::resend))
        .routes(routes!(submission::items))
        .routes(routes!(submission::preview))
        .routes(routes!(submission::attempts))
        .routes(routes!(plan::list))
        .routes(routes!(plan::get))
        .routes(routes!(plan::target))
        .routes(routes!(plan::history))
        .routes(routes!(plan::decisions, plan::propose))
        .routes(routes!(plan::decide))
        .routes(routes!(plan::indicators))
        .routes(routes!(plan::indicator))
        .routes(routes!(plan::indicator_figure))
        .routes(routes!(plan::facts, plan::record))
        .routes(routes!(proof::list))
        .routes(routes!(proof::get))
        .routes(routes!(proof::again))
        .routes(routes!(thinned::list))
        .routes(routes!(rule::list))
        .routes(routes!(rule::kinds))
        .routes(routes!(user::list, user::create))
        .routes(routes!(user::update))
        .routes(routes!(user::sign_out))
        .routes(routes!(user::duties))
        .routes(routes!(user::take_over))
        .routes(routes!(user::reset_second_factor))
        .routes(routes!(open_data::datasets))
        .routes(routes!(open_data::list, open_data::create))
        .routes(routes!(open_data::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(event::list))
        .routes(routes!(event::quarantine))
        .routes(routes!(command::list, command::create))
        .routes(routes!(hold::list, hold::create))
        .routes(routes!(hold::release))
        .routes(routes!(responsibility::coverage))
        .routes(routes!(assessment::list, assessment::begin))
        .routes(routes!(assessment::get))
        .routes(routes!(assessment::content))
        .routes(routes!(assessment::exclude))
        .routes(routes!(assessment::score))
        .routes(routes!(assessment::confirm))
        .routes(routes!(assessment::freeze))
        .routes(routes!(retention::get))
        .routes(routes!(register::list))
        .routes(routes!(register::get))
        .routes(routes!(record::list, record::create))
        .routes(routes!(record::get))
        .routes(routes!(sheet::export))
        .routes(routes!(export::ask))
        .routes(routes!(export::list))
        .routes(routes!(export::get, export::forget))
        .routes(routes!(export::file))
        .routes(routes!(sheet::map))
        .routes(routes!(sheet::table))
        .routes(routes!(document::sorts))
        .routes(routes!(document::preview))
        .routes(routes!(document::compose))
        .routes(routes!(document::view))
        .routes(routes!(document::issue))
        .routes(routes!(document::file))
        .routes(routes!(document::workbook))
        .routes(routes!(whistleblow::holders))
        .routes(routes!(whistleblow::appoint, whistleblow::dismiss))
        .routes(routes!(whistleblow::confirm))
        .routes(routes!(whistleblow::make_key))
        .routes(routes!(whistleblow::view))
        .routes(routes!(whistleblow::open))
        .routes(routes!(whistleblow::open_file))
        .routes(routes!(whistleblow::ask))
        .routes(routes!(whistleblow::grant))
        .routes(routes!(whistleblow::refuse))
        .routes(routes!(whistleblow::unseal))
        .routes(routes!(attachment::upload))
        .routes(routes!(attachment::forget))
        .routes(routes!(attachment::content))
        .routes(routes!(attachment::thumbnail))
        .routes(routes!(attachment::view))
        .routes(routes!(record::transition))
        .routes(routes!(record::history))
        .routes(routes!(certificate::issue))
        .routes(routes!(record::tasks))
        .routes(routes!(record::notifications))
        .routes(routes!(record::read_notifications))
        .routes(routes!(record::people))
        .routes(routes!(pack::list))
        .routes(routes!(pack::enable))
        .routes(routes!(pack::disable))
        .routes(routes!(offer::put_below))
        .routes(routes!(transfer::list, transfer::make))
        .routes(routes!(transfer::preview))
        .routes(routes!(transfer::withdraw))
        .routes(routes!(offer::list))
        .routes(routes!(offer::enable))
        .routes(routes!(live::live))
}
